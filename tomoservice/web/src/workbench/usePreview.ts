/** The picture of what is wanted now, or the last one while the new one is made. */

import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { Freshest } from "../api/freshest";
import { ApiError, ConnectionError } from "../api/http";
import { draftDetail, EXACT, PLANE_DETAIL, settledDetail, speed, type Detail } from "../api/link";
import { fetchPreview, type PreviewWanted } from "../api/previews";
import type { Picture } from "../image/picture";
import type { Range } from "../image/statistics";

export interface Shown {
  picture: Picture;
  /** What it shows. */
  wanted: PreviewWanted;
  /** How it was asked for. */
  detail: Detail;
  /** Seconds from asking to having it. */
  seconds: number;
}

export interface PreviewState {
  shown: Shown | undefined;
  /** Whether the picture shows something else than what is wanted. */
  stale: boolean;
  busy: boolean;
  error: Error | undefined;
  /** Ask again, or for the first time where pictures are not made by themselves. */
  refresh: () => void;
  /** Ask for exact values of what is shown, or for the smallest voxels that somebody may wait for. */
  exactly: () => void;
  /** Give up what is being computed. */
  cancel: () => void;
}

/** What is known of the screen. */
export interface Screen {
  /** Pixels of the screen across the picture. */
  width: number;
  /** Columns of the whole picture, as far as they are known before it is there. */
  columns: number;
  /** Values that are shown. */
  window: Range | undefined;
}

/** Milliseconds until a service that did not answer is asked again. */
const AGAIN_MS = 2000;
/** Milliseconds without a change after which more than a draft is asked for. */
const SETTLED_MS = 500;

interface State {
  shown?: Shown;
  error?: Error;
  /** Key of what the error is about. */
  failed?: string;
}

interface Order {
  wanted: PreviewWanted;
  detail: Detail;
  began: number;
}

/** Return the picture of what is wanted; `live` says whether it is asked for by itself. */
export function usePreview(wanted: PreviewWanted | undefined, live: boolean, screen: Screen): PreviewState {
  const [state, setState] = useState<State>({});
  const [asked, setAsked] = useState("");
  const key = wanted ? JSON.stringify(wanted) : "";
  const latestScreen = useRef(screen);
  latestScreen.current = screen;
  const freshest = useFreshest(setState);

  const order = useCallback(
    (detail: Detail) => wanted && freshest.want({ wanted, detail, began: performance.now() }),
    // `key` stands for what is wanted.
    [freshest, key],
  );
  const refresh = useCallback(() => {
    setAsked(key);
    setState((before) => ({ shown: before.shown }));
    order(draftOf(wanted, latestScreen.current));
  }, [order, key]);
  const exactly = useCallback(() => order(isPlane(wanted) ? PLANE_DETAIL.finest : EXACT), [order]);
  const cancel = useCallback(() => {
    freshest.stop();
    setAsked("");
  }, [freshest]);

  const { shown, error, failed } = state;
  const current = shown !== undefined && JSON.stringify(shown.wanted) === key;
  useEffect(() => {
    // Also when a late answer to what was wanted before takes the place of what is wanted again.
    if (live && key && !current) refresh();
  }, [live, key, current, refresh]);

  useEffect(() => {
    if (!current || !shown || shown.picture.exact) return undefined;
    const timer = setTimeout(() => {
      const more = settledOf(shown, latestScreen.current);
      if (isMore(more, shown.detail)) order(more);
    }, SETTLED_MS);
    return () => clearTimeout(timer);
  }, [current, shown, order]);

  const again = failed === key && isPassing(error);
  useEffect(() => {
    if (!again) return undefined;
    const timer = setTimeout(refresh, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [again, error, refresh]);

  return {
    shown,
    stale: shown !== undefined && !current,
    busy: asked === key && key !== "" && !current && failed !== key,
    error: failed === key ? error : undefined,
    refresh,
    exactly,
    cancel,
  };
}

function useFreshest(setState: (change: (before: State) => State) => void): Freshest<Order, Picture> {
  const freshest = useMemo(
    () =>
      new Freshest<Order, Picture>(({ wanted, detail }, signal) => fetchPreview(wanted, signal, detail), {
        onAnswer: (picture, { wanted, detail, began }) => {
          const seconds = (performance.now() - began) / 1000;
          setState(() => ({ shown: { picture, wanted, detail, seconds } }));
        },
        onError: (error, { wanted }) => {
          const found = error instanceof Error ? error : new Error(String(error));
          setState((before) => ({ ...before, error: found, failed: JSON.stringify(wanted) }));
        },
      }),
    [setState],
  );
  useEffect(() => () => freshest.stop(), [freshest]);
  return freshest;
}

/** Return whether it is worth asking again: nobody answers, or nobody computes yet. */
function isPassing(error: Error | undefined): boolean {
  return error instanceof ConnectionError || (error instanceof ApiError && error.status === 503);
}

/** Return whether a picture takes all slices. */
export function isPlane(wanted: PreviewWanted | undefined): boolean {
  return wanted?.view === "xz" || wanted?.view === "yz";
}

function draftOf(wanted: PreviewWanted | undefined, { columns, width, window }: Screen): Detail {
  return isPlane(wanted) ? PLANE_DETAIL.draft : draftDetail(columns, width, window, speed());
}

function settledOf({ wanted, picture }: Shown, screen: Screen): Detail {
  return isPlane(wanted) ? PLANE_DETAIL.settled : settledDetail(picture.fullColumns, screen.width, speed());
}

/** Return whether somebody who has got a picture gets more by asking in another way. */
function isMore(asked: Detail, had: Detail): boolean {
  return (asked.maxWidth ?? Infinity) > (had.maxWidth ?? Infinity) || (asked === EXACT && had.format !== EXACT.format);
}
