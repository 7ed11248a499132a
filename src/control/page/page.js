// SPDX-License-Identifier: Apache-2.0
// Asks for status.json again and again, while somebody looks, and says when nobody answers.

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;

const page = {
  history: new History(),
  sections: null, // made with the first document
  timer: 0,
  isAsking: false,
  status: null, // the last document
  answered: null, // when it came
};

const formatClock = time => time.toLocaleTimeString([], {hour12: false});

function showHead(is, text) {
  setState(byId('state'), is, text);
  document.title = is === 'good' ? 'Ringbolt' : `Ringbolt: ${text}`;
}

// A screen reader reads it out, so it changes only when something does.
function showBanner(is, text) {
  const banner = byId('banner');

  banner.dataset.is = is;
  setText(banner, text);
}

function showFacts() {
  const {status, answered} = page;

  if (status)
    setText(byId('facts'), `up ${formatSpan(status.uptime_s)} · pid ${status.pid} · as of ${formatClock(answered)}`);
}

function showStatus(status) {
  const main = document.querySelector('main');

  page.status = status;
  page.answered = new Date();
  page.history.add(status);
  main.hidden = false;
  page.sections ??= SECTIONS.map(Section => new Section());
  for (const section of page.sections)
    section.fill(status, page.history);
  setText(byId('version'), status.version);
  showFacts();
  if (status.ready) {
    showHead('good', status.state);
    showBanner('good', '');
  } else {
    showHead('warning', status.reason);
    showBanner('warning', status.state !== 'draining' ? `Not ready: ${status.reason}.`
      : 'Ringbolt is draining: it accepts nobody, finishes the connections that live, and ends.');
  }
}

function showTrouble(what) {
  const since = page.answered ? ` What stands below is from ${formatClock(page.answered)}.` : '';

  showHead('bad', 'no answer');
  showBanner('bad', `${what}${since} Trying again every ${EVERY_MS / 1000} seconds.`);
}

async function ask() {
  let answer;

  try {
    answer = await fetch('status.json', {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
  } catch {
    showTrouble('Ringbolt can’t be reached.');
    return;
  }
  try {
    if (answer.ok)
      showStatus(await answer.json());
    else
      showTrouble(`Ringbolt’s master does not answer (${answer.status}).`);
  } catch (error) {
    showTrouble('The answer can’t be shown.');
    console.error(error);
  }
}

// One question at a time; none while nobody looks.
async function turn() {
  clearTimeout(page.timer);
  if (page.isAsking || document.hidden)
    return;
  page.isAsking = true;
  await ask();
  page.isAsking = false;
  if (!document.hidden)
    page.timer = setTimeout(turn, EVERY_MS);
}

document.addEventListener('visibilitychange', turn);
window.addEventListener('resize', () => {
  if (page.sections)
    page.sections.forEach(section => section.fill(page.status, page.history));
});
turn();
