// SPDX-License-Identifier: Apache-2.0
// Two kinds of charts, as SVG: lines over the last minutes, and bars of a histogram.

const HISTORY_S = 300;
const SPAN_S_MIN = 60; // of a chart, when the page is young
const CHART_HEIGHT = 112;

function draw(parent, name, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);

  for (const [key, value] of Object.entries(attributes))
    element.setAttribute(key, value);
  if (text !== undefined)
    element.textContent = text;
  parent.append(element);
  return element;
}

// The next of 2, 4, 10, 20, … (of a unit, for bytes) that the values stay under; half of it is a round number too.
function niceTop(value, isBytes) {
  const unit = isBytes && value > 1024 ? 1024 ** Math.floor(Math.log(value) / Math.log(1024)) : 1;
  const scale = 10 ** Math.floor(Math.log10(value / unit));

  return [1, 2, 4, 10, 20].map(factor => factor * scale * unit).find(top => top >= value && (isBytes || top > 1));
}

// A card with a title, what is now, and lines: series are {name, read(sample) → number or null}.
class LineChart {
  constructor(parent, title, series, format, isBytes) {
    const values = make('div', 'values');
    const heading = make('h3', '', title);

    this.series = series.map((one, i) => {
      const value = make('b');

      values.append(make('div', 'value', value, make('span', '', make('i', i === 0 ? 'first' : 'second'), one.name)));
      return {...one, value, color: i === 0 ? 'first' : 'second'};
    });
    this.title = title;
    this.format = format;
    this.isBytes = isBytes;
    this.pointed = null; // a place of the pointer, 0 to 1
    this.card = make('div', 'card', heading, values);
    this.svg = draw(this.card, 'svg', {role: 'img'});
    this.samples = [];
    this.svg.addEventListener('pointermove', event => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.point(null));
    parent.append(this.card);
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();

    this.pointed = event ? Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) : null;
    this.show(this.samples);
  }

  show(samples) {
    const last = samples[samples.length - 1];
    const width = this.svg.clientWidth || 300;
    const bottom = CHART_HEIGHT - 18;
    const span = last ? Math.min(Math.max(last.at - samples[0].at, SPAN_S_MIN), HISTORY_S) : SPAN_S_MIN;
    const x = sample => width * (1 - (last.at - sample.at) / span);
    let shown = last;
    let most = 0;

    this.samples = samples;
    if (!last)
      return;
    for (const sample of samples) {
      for (const one of this.series)
        most = Math.max(most, one.read(sample) ?? 0);
      if (this.pointed !== null && Math.abs(x(sample) - this.pointed * width) < Math.abs(x(shown) - this.pointed * width))
        shown = sample;
    }
    const top = niceTop(Math.max(most, this.isBytes ? 1024 : 1), this.isBytes);
    const y = value => bottom - (bottom - 14) * value / top;

    this.svg.replaceChildren();
    this.svg.setAttribute('viewBox', `0 0 ${width} ${CHART_HEIGHT}`);
    for (const value of [top / 2, top]) {
      draw(this.svg, 'line', {class: 'rule', x1: 0, x2: width, y1: y(value), y2: y(value)});
      draw(this.svg, 'text', {x: 0, y: y(value) - 3}, this.format(value));
    }
    draw(this.svg, 'line', {class: 'base', x1: 0, x2: width, y1: bottom, y2: bottom});
    draw(this.svg, 'text', {x: 0, y: CHART_HEIGHT - 4}, formatSpan(span) + ' ago');
    draw(this.svg, 'text', {x: width, y: CHART_HEIGHT - 4, 'text-anchor': 'end'}, 'now');
    for (const one of this.series)
      this.drawLine(one, samples, x, y);
    if (this.pointed !== null) {
      draw(this.svg, 'line', {class: 'cursor', x1: x(shown), x2: x(shown), y1: 14, y2: bottom});
      draw(this.svg, 'text', {x: width / 2, y: CHART_HEIGHT - 4, 'text-anchor': 'middle'}, formatSpan(last.at - shown.at) + ' ago');
    }
    for (const one of this.series) {
      const value = one.read(shown);

      setText(one.value, value === null ? '–' : this.format(value));
    }
    this.svg.setAttribute('aria-label', `${this.title} over the last ${formatSpan(span)}, at most ${this.format(most)}`);
  }

  // Where nothing is known the line is broken.
  drawLine(one, samples, x, y) {
    let path = '';
    let before = false;
    let count = 0;

    for (const sample of samples) {
      const value = one.read(sample);

      if (value !== null) {
        path += `${before ? 'L' : 'M'}${x(sample).toFixed(1)} ${y(value).toFixed(1)}`;
        count++;
      }
      before = value !== null;
    }
    draw(this.svg, 'path', {class: 'line ' + one.color, d: path});
    if (count === 1 && before) {
      const last = samples[samples.length - 1];

      draw(this.svg, 'circle', {class: 'dot ' + one.color, cx: x(last), cy: y(one.read(last)), r: 2});
    }
  }
}

// ---- histograms ----

// As Prometheus' histogram_quantile: within a bucket as if spread evenly. Infinity: beyond the last bound.
function quantile(histogram, part) {
  const wanted = histogram.count * part;
  let seen = 0;

  for (let i = 0; i < histogram.counts.length; i++) {
    const from = i > 0 ? histogram.bounds_s[i - 1] : 0;

    if (histogram.counts[i] > 0 && seen + histogram.counts[i] >= wanted)
      return i === histogram.bounds_s.length ? Infinity
        : from + (histogram.bounds_s[i] - from) * (wanted - seen) / histogram.counts[i];
    seen += histogram.counts[i];
  }
  return null;
}

function formatQuantile(histogram, part) {
  const value = quantile(histogram, part);

  if (value === null)
    return '–';
  return value === Infinity ? '> ' + formatSeconds(histogram.bounds_s.at(-1)) : formatSeconds(value);
}

class BarChart {
  constructor(parent, title) {
    const values = make('div', 'values');

    this.title = title;
    this.values = ['half within', '99 % within', 'counted'].map(name => {
      const value = make('b');

      values.append(make('div', 'value', value, make('span', '', name)));
      return value;
    });
    this.card = make('div', 'card', make('h3', '', title), values);
    this.svg = draw(this.card, 'svg', {role: 'img'});
    parent.append(this.card);
  }

  show(histogram) {
    const width = this.svg.clientWidth || 300;
    const bottom = CHART_HEIGHT - 18;
    const slot = width / histogram.counts.length;
    const most = Math.max(...histogram.counts, 1);
    const texts = [formatQuantile(histogram, 0.5), formatQuantile(histogram, 0.99), formatCount(histogram.count)];

    texts.forEach((text, i) => setText(this.values[i], text));
    this.svg.replaceChildren();
    this.svg.setAttribute('viewBox', `0 0 ${width} ${CHART_HEIGHT}`);
    histogram.counts.forEach((count, i) => {
      const height = count > 0 ? Math.max((bottom - 4) * count / most, 2) : 0;
      const bar = draw(this.svg, 'rect', {class: 'bar', x: i * slot + 1, width: Math.max(slot - 2, 1), y: bottom - height, height});
      const from = i > 0 ? formatSeconds(histogram.bounds_s[i - 1]) : '0';
      const to = i < histogram.bounds_s.length ? formatSeconds(histogram.bounds_s[i]) : null;

      draw(bar, 'title', {}, `${to ? `${from} to ${to}` : `more than ${from}`}: ${formatCount(count)}`);
    });
    draw(this.svg, 'line', {class: 'base', x1: 0, x2: width, y1: bottom, y2: bottom});
    [1, 4, 7, 10, 13].forEach(i => {
      draw(this.svg, 'text', {x: (i + 1) * slot, y: CHART_HEIGHT - 4, 'text-anchor': 'middle'}, formatSeconds(histogram.bounds_s[i]));
    });
    this.svg.setAttribute('aria-label', `${this.title}: histogram of ${texts[2]}; half within ${texts[0]}, 99 % within ${texts[1]}`);
  }
}
