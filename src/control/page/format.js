// SPDX-License-Identifier: Apache-2.0
// Numbers as words, and the elements that hold them. Everything from the network becomes text here and never markup.
'use strict';

const grouped = new Intl.NumberFormat('en-US', {maximumFractionDigits: 0});

function formatCount(value) {
  return value >= 1e8 ? (value / 1e6).toFixed(1) + ' M' : grouped.format(value);
}

function formatBytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;

  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return (unit === 0 ? Math.round(value) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)) + ' ' + units[unit];
}

function formatRate(value) {
  return value === 0 ? '0' : value < 0.05 ? '< 0.1' : value < 10 ? value.toFixed(1) : grouped.format(value);
}

function formatSeconds(value) {
  if (value === 0)
    return '0';
  if (value < 1)
    return Number((value * 1000).toPrecision(2)) + ' ms';
  if (value < 60)
    return Number(value.toPrecision(2)) + ' s';
  return formatSpan(value);
}

// Two units at most: "3 d 4 h".
function formatSpan(seconds) {
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const at = Math.max(units.findIndex(unit => seconds >= unit[1]), 0);
  const parts = [];
  let left = Math.round(seconds);

  if (seconds < 1)
    return '0 s';
  for (const [name, size] of units.slice(at, at + 2)) {
    if (left >= size)
      parts.push(Math.floor(left / size) + ' ' + name);
    left %= size;
  }
  return parts.join(' ');
}

function formatShare(part, whole) {
  const percent = whole > 0 ? 100 * part / whole : 0;

  return whole === 0 ? '–' : (percent > 0 && percent < 1 ? '< 1' : percent > 99 && percent < 100 ? '> 99' : Math.round(percent)) + ' %';
}

// ---- elements ----

function make(name, className, ...children) {
  const element = document.createElement(name);

  if (className)
    element.className = className;
  element.append(...children); // a string becomes a text node
  return element;
}

// Leaves alone what says the same, so that a selection and a screen reader's place outlast a refresh.
function setText(element, text) {
  text = String(text);
  if (element.textContent !== text)
    element.textContent = text;
}

function setState(element, is, text) {
  setText(element, text);
  element.dataset.is = is;
}

// ---- tables ----

// columns: titles with commas between, `>` behind one of numbers, which stand to the right, and `=` behind one that needs a whole line on
// a phone. The first one is the row's heading. On a phone each row becomes a block, which would hide from a screen reader that this is a
// table: hence the roles.
class Table {
  constructor(parent, name, columns) {
    const row = make('tr');

    this.columns = columns.split(', ').map(column => ({
      title: column.replace(/[>=]$/, ''),
      className: column.endsWith('>') ? 'number' : column.endsWith('=') ? 'wide' : '',
    }));
    this.caption = make('caption', 'unseen', name);
    this.body = make('tbody');
    this.table = make('table', '', this.caption, make('thead', '', row), this.body);
    this.box = make('div', 'table', this.table);
    this.table.setAttribute('role', 'table');
    this.body.setAttribute('role', 'rowgroup');
    for (const column of this.columns) {
      const cell = make('th', column.className, column.title);

      cell.scope = 'col';
      cell.setAttribute('role', 'columnheader');
      row.append(cell);
    }
    row.setAttribute('role', 'row');
    parent.append(this.box);
  }

  // rows: of cells, which are texts or {text, state, share (of a bar behind it), more (in small print)}.
  fill(rows) {
    while (this.body.rows.length > rows.length)
      this.body.deleteRow(-1);
    rows.forEach((row, i) => {
      if (i === this.body.rows.length)
        this.body.append(this.makeRow());
      row.forEach((cell, j) => this.fillCell(this.body.rows[i].cells[j], cell));
    });
  }

  makeRow() {
    const row = make('tr');

    this.columns.forEach((column, i) => {
      const cell = make(i === 0 ? 'th' : 'td', column.className);

      if (i === 0)
        cell.scope = 'row';
      cell.setAttribute('role', i === 0 ? 'rowheader' : 'cell');
      cell.dataset.label = column.title;
      cell.append(make('span'));
      row.append(cell);
    });
    row.setAttribute('role', 'row');
    return row;
  }

  fillCell(element, cell) {
    const {text, state, share, more} = typeof cell === 'object' ? cell : {text: cell};
    const span = element.firstChild;

    if (more !== undefined) {
      if (!span.nextSibling)
        element.append(make('small'));
      setText(span.nextSibling, more);
    } else if (span.nextSibling) {
      span.nextSibling.remove();
    }
    setText(span, text);
    span.className = state ? 'state' : share !== undefined ? 'part' : '';
    if (state)
      span.dataset.is = state;
    if (share !== undefined)
      span.style.setProperty('--share', share);
  }
}
