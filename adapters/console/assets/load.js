// load reads data for pages and runs their actions.
import { useState, useEffect, useRef, useCallback } from './lib.js';

// useLoad calls read(signal) when deps change, and returns {data, error, isLoading, at, reload, setData}. The
// data stay on the page while they are read anew.
export function useLoad(read, deps) {
  const [state, setState] = useState({ data: undefined, error: null, isLoading: true, at: 0 });
  const latest = useRef({ run: 0, abort: null, isGone: false });
  const reload = useCallback(async () => {
    if (latest.current.isGone) return; // a timer of a page that was left
    const run = ++latest.current.run;
    latest.current.abort?.abort();
    const abort = (latest.current.abort = new AbortController());
    setState((s) => ({ ...s, isLoading: true }));
    try {
      const data = await read(abort.signal);
      if (run === latest.current.run) setState({ data, error: null, isLoading: false, at: Date.now() });
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (run === latest.current.run) setState((s) => ({ ...s, error, isLoading: false }));
    }
  }, deps);
  useEffect(() => {
    latest.current.isGone = false;
    reload();
    return () => {
      latest.current.isGone = true;
      latest.current.run++;
      latest.current.abort?.abort();
    };
  }, [reload]);
  const setData = useCallback((change) => {
    setState((s) => (s.data === undefined ? s : { ...s, data: typeof change === 'function' ? change(s.data) : change }));
  }, []);
  return { ...state, reload, setData };
}

// useAction returns {run, isBusy, error, clear} for something that the user starts. A second start while
// the first runs does nothing.
export function useAction(fn) {
  const [state, setState] = useState({ isBusy: false, error: null });
  const busy = useRef(false);
  const alive = useRef(true);
  const latest = useRef(fn);
  latest.current = fn;
  useEffect(() => {
    alive.current = true;
    return () => { alive.current = false; };
  }, []);
  const run = useCallback(async (...args) => {
    if (busy.current) return undefined;
    busy.current = true;
    setState({ isBusy: true, error: null });
    let error = null;
    try {
      return await latest.current(...args);
    } catch (e) {
      error = e;
      return undefined;
    } finally {
      busy.current = false;
      if (alive.current) setState({ isBusy: false, error });
    }
  }, []);
  const clear = useCallback(() => setState({ isBusy: false, error: null }), []);
  return { ...state, run, clear };
}

// useTicker draws the component again every so many ms, while isOn.
export function useTicker(ms, isOn = true) {
  const [, setTick] = useState(0);
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => setTick((n) => n + 1), ms);
    return () => clearInterval(timer);
  }, [ms, isOn]);
}

// useInterval calls fn every so many ms while isOn and the page is in view.
export function useInterval(fn, ms, isOn = true) {
  const latest = useRef(fn);
  latest.current = fn;
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => { if (!document.hidden) latest.current(); }, ms);
    return () => clearInterval(timer);
  }, [ms, isOn]);
}

// useDebounced returns a value once it has stayed the same for so many ms.
export function useDebounced(value, ms) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
