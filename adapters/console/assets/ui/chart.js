// chart draws numbers over time as stacked bars, with the same numbers as a table for screen readers.
import { html, useId, useState } from '../lib.js';
import { count } from './time.js';

const width = 720;
const height = 220;
const left = 40;
const bottom = 24;

// niceTop returns a round, even number that is not less than n.
export function niceTop(n) {
  if (n <= 4) return 4;
  const unit = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 4, 5, 10].map((f) => f * unit).find((v) => v >= n && v % 2 === 0);
}

// Bars takes points of {label, values}, and series of [name, tone] in the order of the values.
export function Bars({ title, points, series }) {
  const [at, setAt] = useState(-1);
  const id = useId();
  const top = niceTop(Math.max(...points.map((p) => p.values.reduce((a, b) => a + b, 0)), 1));
  const step = (width - left) / Math.max(points.length, 1);
  const bar = Math.max(2, Math.min(36, step * 0.7));
  const y = (v) => (height - bottom) * (1 - v / top);
  const every = Math.ceil(points.length / 8);
  const shown = points[at];
  return html`<figure class="chart"><figcaption id=${id}><span class="grow">${title}</span>
      ${series.map(([name, tone], i) => html`<span key=${name} class="legend"><i class=${'swatch ' + tone}></i>${name}${shown ? html` <strong>${count(shown.values[i])}</strong>` : ''}</span>`)}
      <span class="muted chart-at">${shown ? shown.label : ''}</span></figcaption>
    <svg viewBox=${`0 0 ${width} ${height}`} aria-hidden="true" focusable="false" onMouseLeave=${() => setAt(-1)}>
      ${[0, 0.5, 1].map((f) => html`<g key=${f}><line class="grid-line" x1=${left} x2=${width} y1=${y(top * f)} y2=${y(top * f)} /><text x=${left - 8} y=${y(top * f) + (f === 1 ? 10 : 4)} text-anchor="end">${count(top * f)}</text></g>`)}
      ${points.map((p, i) => {
        let base = 0;
        return html`<g key=${i} onMouseEnter=${() => setAt(i)} onClick=${() => setAt(i)}><rect class=${'hit' + (i === at ? ' on' : '')} x=${left + i * step} y="0" width=${step} height=${height - bottom} />
          ${p.values.map((v, s) => {
            base += v;
            return v > 0 && html`<rect key=${s} class=${'bar ' + series[s][1]} x=${left + i * step + (step - bar) / 2} width=${bar} y=${y(base)} height=${Math.max(1, y(base - v) - y(base))} rx="2" />`;
          })}
          ${i % every === 0 && html`<text class="tick" x=${left + (i + 0.5) * step} y=${height - 6} text-anchor="middle">${p.label}</text>`}</g>`;
      })}</svg>
    <div class="hidden"><table aria-labelledby=${id}><thead><tr><th scope="col">Time</th>${series.map(([name]) => html`<th key=${name} scope="col">${name}</th>`)}</tr></thead>
      <tbody>${points.map((p, i) => html`<tr key=${i}><th scope="row">${p.label}</th>${p.values.map((v, s) => html`<td key=${s}>${v}</td>`)}</tr>`)}</tbody></table></div></figure>`;
}
