// table draws rows, as cards on narrow screens.
import { html } from '../lib.js';

// Table takes columns of [head, view(row)]; a column with an empty head holds actions. On narrow screens rows
// are cards: with the heads as labels, or brief, without them. Numbers in narrow columns stay a table.
export function Table({ caption, columns, rows, rowKey, rowClass, isNumeric, isBrief }) {
  return html`<div class=${'table-box' + (isNumeric ? ' keep numbers' : '') + (isBrief ? ' brief' : '')}><table><caption class="hidden">${caption}</caption>
    <thead><tr>${columns.map(([head], i) => html`<th key=${i} scope="col">${head || html`<span class="hidden">Actions</span>`}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${rowKey(row)} data-row=${rowKey(row)} class=${rowClass?.(row) || ''}>
      ${columns.map(([head, view], i) => html`<td key=${i} data-label=${head || undefined} class=${head ? '' : 'acts'}>${view(row)}</td>`)}</tr>`)}</tbody></table></div>`;
}
