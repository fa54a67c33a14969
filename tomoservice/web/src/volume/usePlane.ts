/** One plane of a volume, at the resolution that the screen needs. */

import { useEffect, useMemo, useState } from "react";

import { Freshest } from "../api/freshest";
import { ApiError } from "../api/http";
import { readPlane, type Axis, type Level, type Shape } from "../api/volumes";
import type { Picture } from "../image/picture";

export interface PlaneWanted {
  level: Level;
  axis: Axis;
  place: number;
  full: Shape;
}

export interface PlaneState {
  picture: Picture | undefined;
  stale: boolean;
  error: Error | undefined;
}

interface State {
  key?: string;
  picture?: Picture;
  error?: Error;
  failed?: string;
}

/** Seconds after which a plane that is not there yet is asked for again, unless the service says when. */
const AGAIN_S = 5;

/** Answers that are another one after a while: not now, somebody else is at it, nobody computes. */
const PASSING = [409, 429, 503];

/** Return a plane; it is asked for again when the `state` of the reconstruction is another one. */
export function usePlane(wanted: PlaneWanted | undefined, state: string): PlaneState {
  const [found, setFound] = useState<State>({});
  const [round, setRound] = useState(0);
  const key = wanted ? JSON.stringify([wanted.level.path, wanted.axis, wanted.place]) : "";
  const freshest = useMemo(
    () =>
      new Freshest<PlaneWanted & { key: string }, Picture>(
        ({ level, axis, place, full }, signal) => readPlane(level, axis, place, full, signal),
        {
          onAnswer: (picture, { key: answered }) => setFound({ key: answered, picture }),
          onError: (error, { key: failed }) =>
            setFound((before) => ({ ...before, error: error instanceof Error ? error : new Error(String(error)), failed })),
        },
      ),
    [],
  );
  useEffect(() => () => freshest.stop(), [freshest]);
  useEffect(() => {
    if (wanted) freshest.want({ ...wanted, key });
  }, [freshest, key, round, state]);

  const error = found.failed === key ? found.error : undefined;
  useEffect(() => {
    if (!(error instanceof ApiError) || !PASSING.includes(error.status)) return undefined;
    const timer = setTimeout(() => setRound((n) => n + 1), 1000 * (error.retryAfter ?? AGAIN_S));
    return () => clearTimeout(timer);
  }, [error]);
  return { picture: found.picture, stale: found.key !== key, error };
}
