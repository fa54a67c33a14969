/** Something read from the service, kept while it is read again. */

import { useCallback, useEffect, useRef, useState } from "react";

import { ConnectionError, isAborted } from "../api/http";

export interface Resource<T> {
  value: T | undefined;
  error: Error | undefined;
  loading: boolean;
  reload: () => void;
}

/** Milliseconds between tries while nobody answers. */
const AGAIN_MS = 3000;

/**
 * Read something whenever `key` changes, and whenever `reload` is called.
 *
 * What was read for the former key is not shown for the new one; a connection that is lost is tried again.
 */
export function useResource<T>(key: string | undefined, read: (signal: AbortSignal) => Promise<T>): Resource<T> {
  const [state, setState] = useState<{ key?: string; value?: T; error?: Error; loading: boolean }>({
    loading: key !== undefined,
  });
  const [round, setRound] = useState(0);
  const reader = useRef(read);
  reader.current = read;
  useEffect(() => {
    if (key === undefined) return undefined;
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setState((before) => (before.key === key ? { ...before, loading: true } : { key, loading: true }));
    reader.current(controller.signal).then(
      (value) => setState({ key, value, loading: false }),
      (error: unknown) => {
        if (controller.signal.aborted || isAborted(error)) return;
        const found = error instanceof Error ? error : new Error(String(error));
        setState((before) => ({ ...before, key, error: found, loading: false }));
        if (error instanceof ConnectionError) timer = setTimeout(() => setRound((n) => n + 1), AGAIN_MS);
      },
    );
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [key, round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  const fresh = state.key === key;
  return {
    value: fresh ? state.value : undefined,
    error: fresh ? state.error : undefined,
    loading: state.loading,
    reload,
  };
}
