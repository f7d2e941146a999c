// dialog draws what interrupts: forms of their own, and questions before dangerous acts.
import { html, useLayoutEffect, useRef, useState, useId } from '../lib.js';
import { Button } from './button.js';
import { Field } from './field.js';
import { Problem } from './note.js';
import { useAction } from '../load.js';

// Dialog is modal. The browser keeps the focus within, and Escape closes.
export function Dialog({ title, onClose, children, isWide }) {
  const ref = useRef(null);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close(); // what is behind it cannot have the focus before
      before?.focus?.({ preventScroll: true });
    };
  }, []);
  return html`<dialog ref=${ref} class=${isWide ? 'wide' : ''} aria-labelledby=${id}
    onCancel=${(e) => { e.preventDefault(); onClose(); }}
    onMouseDown=${(e) => { if (e.target === ref.current) onClose(); }}>
    <div class="dialog"><header><h2 id=${id}>${title}</h2><${Button} variant="quiet" icon="x" label="Close" onClick=${onClose} /></header>
    ${children}</div></dialog>`;
}

// Confirm asks before an act that is hard to undo. It names the object and the cost. With typed, the
// user has to type that text.
export function Confirm({ title, children, action, icon, typed, onConfirm, onClose }) {
  const [text, setText] = useState('');
  const act = useAction(async () => {
    await onConfirm();
    onClose();
  });
  const isReady = !typed || text.trim() === typed.trim();
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${(e) => { e.preventDefault(); if (isReady) act.run(); }} class="stack">
      <div class="stack small-gap">${children}</div>
      ${typed && html`<${Field} label=${html`Type <strong>${typed}</strong> to go on`} value=${text} onInput=${setText} autocomplete="off" autofocus name="confirmation" />`}
      <${Problem} error=${act.error} />
      <footer><${Button} onClick=${onClose}>Cancel<//>
        <${Button} type="submit" variant="danger" icon=${icon} isBusy=${act.isBusy} disabled=${!isReady}>${action}<//></footer>
    </form>
  <//>`;
}
