// SPDX-License-Identifier: Apache-2.0
// What was seen while the page is open: a sample of each document, and the rates between them.

function sum(items, read) {
  return items.reduce((total, item) => total + read(item), 0);
}

function sumMembers(objects) {
  const total = {};

  for (const object of objects) {
    for (const [key, value] of Object.entries(object))
      total[key] = (total[key] ?? 0) + value;
  }
  return total;
}

// All of the same bounds; null: none.
function sumHistograms(histograms) {
  if (histograms.length === 0)
    return null;
  return {
    bounds_s: histograms[0].bounds_s,
    counts: histograms[0].counts.map((_, i) => sum(histograms, one => one.counts[i])),
    count: sum(histograms, one => one.count),
  };
}

function differenceOf(now, before) {
  return {
    bounds_s: now.bounds_s,
    counts: now.counts.map((count, i) => Math.max(count - before.counts[i], 0)),
    count: Math.max(now.count - before.count, 0),
  };
}

function sampleOf(status) {
  const {totals, listeners, upstreams, workers} = status;

  return {
    at: status.uptime_s,
    pid: status.pid,
    started_s: status.started_s,
    connections: totals.connections,
    counters: {
      accepted: totals.accepted,
      bytes_in: totals.bytes_in,
      bytes_out: totals.bytes_out,
      full: totals.handshakes - totals.resumed,
      resumed: totals.resumed,
    },
    ends: sumMembers(listeners.map(listener => listener.ends)),
    histograms: {
      full: sumHistograms(listeners.map(listener => listener.handshake_seconds.full)),
      resumed: sumHistograms(listeners.map(listener => listener.handshake_seconds.resumed)),
      connect: sumHistograms(upstreams.map(upstream => upstream.connect_seconds)),
      duration: sumHistograms(listeners.map(listener => listener.duration_seconds)),
    },
    cpu: Object.fromEntries([['master', status.master.cpu_s], ...workers.map(worker => [worker.pid, worker.cpu_s])]),
    rates: null, // a second, since the sample before; null: there is none
    used: {},    // parts of a CPU, likewise
  };
}

// Another master, or counters that began anew.
function isAnother(sample, before) {
  return before.pid !== sample.pid || sample.at < before.at
    || Object.keys(sample.counters).some(key => sample.counters[key] < before.counters[key]);
}

class History {
  constructor() {
    this.samples = [];
  }

  get last() {
    return this.samples[this.samples.length - 1];
  }

  get age() {
    return this.last.at - this.samples[0].at;
  }

  add(status) {
    const sample = sampleOf(status);
    const before = this.last;

    if (before && isAnother(sample, before))
      this.samples = [];
    else if (before && sample.at > before.at)
      this.compare(sample, before);
    else if (before)
      return; // the same answer again
    this.samples.push(sample);
    while (this.samples[0].at < sample.at - HISTORY_S)
      this.samples.shift();
  }

  compare(sample, before) {
    const passed = sample.at - before.at;

    sample.rates = {};
    for (const [key, value] of Object.entries(sample.counters))
      sample.rates[key] = (value - before.counters[key]) / passed;
    sample.rates.failed = sum(Object.keys(sample.ends).filter(isFailure), key => sample.ends[key] - (before.ends[key] ?? 0)) / passed;
    for (const [key, value] of Object.entries(sample.cpu)) {
      if (typeof before.cpu[key] === 'number' && typeof value === 'number')
        sample.used[key] = Math.max(value - before.cpu[key], 0) / passed;
    }
  }

  // A histogram since the start, or since the oldest sample. null: there is none.
  histogram(name, isRecent) {
    const now = this.last.histograms[name];
    const before = this.samples[0].histograms[name];

    return now && isRecent && before ? differenceOf(now, before) : now;
  }
}
