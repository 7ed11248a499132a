// SPDX-License-Identifier: Apache-2.0
// The sections of the page: each is made once, and filled by every document.

const SOON_S = 14 * 86400;
const SHOWN_FIRST = 20; // certificates

const byId = id => document.getElementById(id);
const stateCell = (text, is) => ({text, state: is});

// ---- now ----

class Charts {
  constructor() {
    const rate = key => sample => sample.rates && sample.rates[key];
    const bytesRate = value => formatBytes(value) + '/s';
    const countRate = value => formatRate(value) + '/s';
    const at = byId('charts');

    this.charts = [
      new LineChart(at, 'Throughput', [{name: 'in', read: rate('bytes_in')}, {name: 'out', read: rate('bytes_out')}], bytesRate, true),
      new LineChart(at, 'Handshakes', [{name: 'full', read: rate('full')}, {name: 'resumed', read: rate('resumed')}], countRate),
      new LineChart(at, 'Connections', [{name: 'live', read: sample => sample.connections}], formatCount),
      new LineChart(at, 'Connections, come and gone', [{name: 'accepted', read: rate('accepted')}, {name: 'failed', read: rate('failed')}],
        countRate),
    ];
  }

  fill(_, history) {
    this.charts.forEach(chart => chart.show(history.samples));
  }
}

// ---- servers ----

class Upstreams {
  constructor() {
    this.tables = [];
  }

  fill({upstreams}) {
    while (this.tables.length > upstreams.length)
      this.tables.pop().box.remove();
    upstreams.forEach((upstream, i) => {
      this.tables[i] ??= this.makeTable();
      this.fillOne(this.tables[i], upstream);
    });
  }

  makeTable() {
    const table = new Table(byId('upstreams'), '',
      'Server, Health, Set to, Connections>, Connects>, Failed>, Bytes in>, Bytes out>');

    table.caption.className = '';
    return table;
  }

  fillOne(table, upstream) {
    const connect = upstream.connect_seconds;
    const out = upstream.servers.filter(server => server.health === 'out').length;
    const parts = [`Upstream ${upstream.name}`, upstream.balance.replaceAll('_', ' ')];

    parts.push(out === 0 ? 'all servers up' : `${out} of ${upstream.servers.length} out`);
    if (connect.count > 0)
      parts.push(`connected within ${formatQuantile(connect, 0.5)} (half), ${formatQuantile(connect, 0.99)} (99 %)`);
    if (upstream.queue_size > 0)
      parts.push(`${formatCount(upstream.waiting)} of at most ${formatCount(upstream.queue_size)} wait`);
    for (const [end, count] of Object.entries(upstream.ends)) {
      if (count > 0)
        parts.push(`${formatCount(count)} × ${end}`);
    }
    setText(table.caption, parts.join(' · '));
    table.fill(upstream.servers.map(server => [
      {text: server.address, more: server.backup ? 'backup' : server.weight !== 1 ? `weight ${server.weight}` : undefined},
      server.health === 'up' ? stateCell('up', 'good') : stateCell(server.health, 'bad'),
      server.state === 'ready' ? 'ready' : stateCell(server.state, 'warning'),
      formatCount(server.connections) + (server.max_connections > 0 ? ' / ' + formatCount(server.max_connections) : ''),
      formatCount(server.connects),
      formatCount(server.failures + sum(Object.values(server.ends), count => count)),
      formatBytes(server.bytes_in),
      formatBytes(server.bytes_out),
    ]));
  }
}

// ---- listeners ----

class Listeners {
  constructor() {
    this.table = new Table(byId('listeners'), 'Listeners',
      'Listener, Address=, Connections>, Accepted>, Failed>, Refused>, Handshakes>, Resumed>, Bytes in>, Bytes out>');
  }

  fill({listeners}) {
    this.table.fill(listeners.map(listener => {
      const handshakes = sum(listener.handshakes, one => one.count);

      return [
        listener.name,
        listener.address,
        formatCount(listener.connections),
        formatCount(listener.accepted),
        formatCount(sum(Object.entries(listener.ends), ([end, count]) => isFailure(end) ? count : 0)),
        formatCount(sum(Object.values(listener.refused), count => count)),
        formatCount(handshakes),
        formatShare(sum(listener.handshakes, one => one.resumed ? one.count : 0), handshakes),
        formatBytes(listener.bytes_in),
        formatBytes(listener.bytes_out),
      ];
    }));
  }
}

// ---- processes ----

class Workers {
  constructor() {
    this.table = new Table(byId('workers'), 'Processes',
      'Process, State, PID>, Connections>, CPU>, Memory>, Buffers>, Buffer waits>, Starts>, Held by=');
  }

  // What a process is held by, as whom it runs, and what it may do beyond that; a worker that is not ready is not listed.
  held(one) {
    if (!one)
      return '–';
    const parts = [...one.seccomp === 'none' ? [] : ['seccomp'], ...one.landlock > 0 ? [`Landlock ${one.landlock}`] : [],
      ...one.io_uring ? ['io_uring'] : []];
    const may = one.capabilities.length > 0 ? `, with ${one.capabilities.join(', ')}` : '';

    return {text: parts.join(', ') || 'nothing', more: `as ${one.user ?? one.uid}${may}`};
  }

  fill({master, workers, pid, sandbox}, history) {
    const {used} = history.last;
    const held = of => this.held(sandbox.find(one => one.pid === of));
    const cpu = part => part === undefined ? '–' : (100 * part).toFixed(1) + ' %';
    const memory = bytes => typeof bytes === 'number' ? formatBytes(bytes) : '–';
    const rows = [...workers].sort((a, b) => a.worker - b.worker).map(worker => [
      'worker ' + worker.worker,
      stateCell(worker.state, {ready: 'good', starting: 'warning'}[worker.state] ?? 'bad'),
      worker.pid === null ? '–' : String(worker.pid),
      formatCount(worker.connections),
      cpu(used[worker.pid]),
      memory(worker.memory_bytes),
      {text: formatBytes(worker.buffer_bytes), more: 'of ' + formatBytes(worker.buffer_bytes_max)},
      formatCount(worker.starved),
      formatCount(worker.starts),
      held(worker.pid),
    ]);

    rows.push(['master', '–', String(pid), '–', cpu(used.master), memory(master.memory_bytes), '–', '–', '–', held(pid)]);
    this.table.fill(rows);
  }
}

// ---- times ----

class Times {
  constructor() {
    const at = byId('times');

    this.charts = {
      full: new BarChart(at, 'Full handshakes'),
      resumed: new BarChart(at, 'Resumed handshakes'),
      connect: new BarChart(at, 'Connects to servers'),
      duration: new BarChart(at, 'Connections’ lives'),
    };
    this.select = byId('window');
    this.select.addEventListener('change', () => this.history && this.fill(null, this.history));
  }

  fill(_, history) {
    this.history = history;
    setText(this.select.options[1],
      history.age < HISTORY_S - 10 ? 'since this page was opened' : `in the last ${formatSpan(HISTORY_S)}`);
    for (const [name, chart] of Object.entries(this.charts)) {
      const histogram = history.histogram(name, this.select.value === 'recent');

      chart.card.hidden = !histogram;
      if (histogram)
        chart.show(histogram);
    }
  }
}

// ---- records ----

class Records {
  constructor() {
    this.table = new Table(byId('records'), 'Directions of connections that have ended, by record layer',
      'Direction, Layer, Why not the kernel=, Connections>');
  }

  fill({records, kernel_tls, key_updates}) {
    const isSeen = records.filter(one => one.connections > 0);
    const direction = one => one.direction === 'transmit' ? `to ${one.side}s` : `from ${one.side}s`;
    const isSame = (one, other) => other.side === one.side && other.direction === one.direction;
    const whole = one => sum(isSeen, other => isSame(one, other) ? other.connections : 0);
    const rekey = kernel_tls.rekey ? ', and can change keys.' : '; it can’t change keys.';
    const notes = [kernel_tls.available ? 'This kernel has TLS' + rekey : `No kernel TLS: ${kernel_tls.reason}.`];
    const updates = key_updates.filter(one => one.received + one.sent > 0)
      .map(one => `${formatCount(one.received)} from ${one.side}s, ${formatCount(one.sent)} to them`);
    const statistics = Object.entries(kernel_tls.statistics ?? {}).filter(([, value]) => value > 0)
      .map(([name, value]) => `${name} ${formatCount(value)}`);

    if (updates.length > 0)
      notes.push(`KeyUpdates: ${updates.join('; ')}.`);
    if (statistics.length > 0)
      notes.push(`The kernel counts ${statistics.join(', ')}.`);
    setText(byId('kernel'), notes.join(' '));
    this.table.fill(isSeen.length > 0 ? isSeen.map(one => [
      direction(one),
      one.layer,
      one.layer === 'kernel' ? '–' : WHY_USER[one.reason] ?? one.reason,
      {text: formatCount(one.connections), share: one.connections / whole(one)},
    ]) : [['none yet', '–', '–', '0']]);
  }
}

// ---- ends ----

class Ends {
  constructor() {
    this.table = new Table(byId('ends'), 'How connections ended',
      'End, What happened=, Connections>');
  }

  fill(_, history) {
    const ends = Object.entries(history.last.ends).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
    const whole = sum(ends, end => end[1]);

    this.table.fill(ends.length > 0 ? ends.map(([end, count]) => [
      end,
      ENDS[end] ?? '–',
      {text: formatCount(count), share: count / whole},
    ]) : [['none yet', '–', '0']]);
  }
}

// ---- suites ----

class Suites {
  constructor() {
    this.table = new Table(byId('suites'), 'Handshakes by cipher suite',
      'Suite, Version, Full>, Resumed>');
  }

  fill({listeners}) {
    const suites = new Map();

    for (const one of listeners.flatMap(listener => listener.handshakes)) {
      const suite = suites.get(one.cipher) ?? {version: one.version, full: 0, resumed: 0};

      suite[one.resumed ? 'resumed' : 'full'] += one.count;
      suites.set(one.cipher, suite);
    }
    const rows = [...suites].filter(([, suite]) => suite.full + suite.resumed > 0)
      .sort((a, b) => b[1].full + b[1].resumed - a[1].full - a[1].resumed)
      .map(([cipher, suite]) => [cipher, suite.version, formatCount(suite.full), formatCount(suite.resumed)]);
    this.table.fill(rows.length > 0 ? rows : [['none yet', '–', '0', '0']]);
  }
}

// ---- limits ----

class Limits {
  constructor() {
    this.table = new Table(byId('limits'), 'Limits and shortages',
      'What, What follows=, Times>');
  }

  fill({listeners, workers}) {
    const rows = [];
    const add = (counts, follows) => Object.entries(counts)
      .forEach(([name, count]) => rows.push([LIMITS[name] ?? name, follows, count]));

    add(sumMembers(listeners.map(listener => listener.refused)), 'clients were refused');
    add(sumMembers(listeners.map(listener => listener.pauses)), 'clients waited to be accepted');
    rows.push(['relay buffers', 'connections waited', sum(workers, worker => worker.starved)]);
    rows.push(['io_uring’s completions', 'the kernel kept them', sum(workers, worker => worker.ring_overflows)]);
    rows.push(['io_uring’s submissions', 'tried again', sum(workers, worker => worker.ring_refused)]);
    const shown = rows.filter(row => row[2] > 0);
    this.table.fill(shown.length > 0 ? shown.map(([what, follows, count]) => [what, follows, formatCount(count)])
      : [['none was reached', '–', '0']]);
  }
}

// ---- certificates ----

class Certificates {
  constructor() {
    this.table = new Table(byId('certificates'), 'Certificates, those that end first first',
      'Name, State, Ends=, In>, Fingerprint=, Handshakes>');
    this.isAll = false;
    this.more = byId('more');
    this.more.addEventListener('click', () => {
      this.isAll = !this.isAll;
      this.fill(this.status);
    });
  }

  state(one, left) {
    if (one.problem)
      return stateCell('files are wrong', 'bad');
    if (left <= 0)
      return stateCell('expired', 'bad');
    return left < SOON_S ? stateCell('ends soon', 'warning') : stateCell('good', 'good');
  }

  fill(status) {
    const {certificates, time_s} = status;
    const all = [...certificates.first_to_end].sort((a, b) => a.not_after_s - b.not_after_s);
    const shown = this.isAll ? all : all.slice(0, SHOWN_FIRST);
    const notes = [];

    this.status = status;
    if (certificates.count > all.length)
      notes.push(`${formatCount(certificates.count)} are served, the first ${formatCount(all.length)} to end are here.`);
    if (certificates.problems > 0)
      notes.push(`${formatCount(certificates.problems)} with files that are wrong now: what was loaded before is served. ` +
        '“ringbolt certificates” says more.');
    setText(byId('certificates-note'), notes.join(' '));
    this.table.fill(shown.map(one => {
      const left = one.not_after_s - time_s;

      return [
        one.name === '' ? '(no name)' : one.name,
        this.state(one, left),
        one.not_after.slice(0, 16).replace('T', ' ') + ' UTC',
        left <= 0 ? formatSpan(-left) + ' ago' : formatSpan(left),
        one.certificate,
        formatCount(one.handshakes),
      ];
    }));
    this.more.hidden = all.length <= SHOWN_FIRST;
    setText(this.more, this.isAll ? `Show the first ${SHOWN_FIRST} only` : `Show all ${formatCount(all.length)}`);
  }
}

const SECTIONS = [Charts, Upstreams, Listeners, Workers, Times, Records, Ends, Suites, Limits, Certificates];
