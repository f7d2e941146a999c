// Finds elements by the names that people see. An open dialog hides what is behind it.
(() => {
  window.__longestTask = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.__longestTask = Math.max(window.__longestTask, task.duration);
  }).observe({ type: 'longtask', buffered: true });
  const words = (text) => (text || '').replace(/\s+/g, ' ').trim();
  const isShown = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== 'hidden';
  const root = () => [...document.querySelectorAll('dialog[open]')].pop() || document;
  const nameOf = (e) => words(e.getAttribute('aria-label') || e.innerText || e.textContent);
  const best = (list, nameOfElement, name) => list.find((e) => nameOfElement(e) === name) || list.find((e) => nameOfElement(e).startsWith(name));
  window.__find = (kind, name) => {
    if (kind === 'field') {
      const label = best([...root().querySelectorAll('label[for]')].filter(isShown), (l) => words(l.textContent), name);
      return label ? document.getElementById(label.htmlFor) : null;
    }
    const list = [...root().querySelectorAll('button, a[href], summary, .choice label, .check label')].filter(isShown);
    return best(list, nameOf, name) || null;
  };
  window.__middle = (e) => {
    const box = e.getClientRects()[0];
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  };
  window.__canPress = (e) => {
    if (!e || e.disabled) return false;
    e.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
    const box = e.getClientRects()[0];
    const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return Boolean(top && (e.contains(top) || top.contains(e)));
  };
})();
