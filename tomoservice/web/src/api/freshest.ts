/**
 * Asks for the newest of many things wanted in quick succession, one at a time.
 *
 * While a request is under way, only the newest thing wanted waits behind it. A request that has been
 * superseded and is slow is given up, so that the newest need not wait for it; a quick one is shown, so that
 * pictures keep coming while somebody drags a slider.
 */

import { isAborted } from "./http";

export interface Clock {
  after: (milliseconds: number, call: () => void) => () => void;
}

const browserClock: Clock = {
  after: (milliseconds, call) => {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};

export interface Callbacks<Wanted, Answer> {
  onAnswer: (answer: Answer, wanted: Wanted) => void;
  onError: (error: unknown, wanted: Wanted) => void;
}

/** Milliseconds after which a superseded request is given up: longer than a picture takes over a slow line. */
export const PATIENCE_MS = 1200;
/** As much at most, where nothing has come for all the giving up. */
export const MOST_PATIENCE_MS = 4800;

export class Freshest<Wanted, Answer> {
  private waiting: { wanted: Wanted } | undefined;
  private running: AbortController | undefined;
  private patient = false;
  private patience = PATIENCE_MS;
  private stops: (() => void)[] = [];
  private starting = false;

  constructor(
    private readonly request: (wanted: Wanted, signal: AbortSignal) => Promise<Answer>,
    private readonly callbacks: Callbacks<Wanted, Answer>,
    private readonly clock: Clock = browserClock,
  ) {}

  /** Want something; whatever was wanted before matters no more. */
  want(wanted: Wanted): void {
    this.waiting = { wanted };
    if (this.running) {
      if (!this.patient) this.giveUp();
    } else if (!this.starting) {
      // What is wanted together is asked for once; nobody waits longer for it.
      this.starting = true;
      queueMicrotask(() => this.start());
    }
  }

  /** Give everything up. */
  stop(): void {
    this.waiting = undefined;
    this.running?.abort();
    this.running = undefined;
    for (const stop of this.stops.splice(0)) stop();
  }

  private start(): void {
    this.starting = false;
    if (!this.waiting || this.running) return;
    const { wanted } = this.waiting;
    this.waiting = undefined;
    const controller = new AbortController();
    this.running = controller;
    this.patient = true;
    const stop = this.clock.after(this.patience, () => {
      if (this.running !== controller) return;
      this.patient = false;
      if (this.waiting) this.giveUp();
    });
    this.stops.push(stop);
    this.request(wanted, controller.signal).then(
      (answer) => {
        this.patience = PATIENCE_MS;
        this.ended(controller, stop, () => this.callbacks.onAnswer(answer, wanted));
      },
      (error: unknown) =>
        this.ended(controller, stop, () => {
          if (!isAborted(error)) this.callbacks.onError(error, wanted);
        }),
    );
  }

  /** Whoever never stops dragging shall see something all the same: the next one gets more time. */
  private giveUp(): void {
    this.patience = Math.min(MOST_PATIENCE_MS, 2 * this.patience);
    this.running?.abort();
  }

  private ended(controller: AbortController, stop: () => void, tell: () => void): void {
    stop();
    this.stops = this.stops.filter((one) => one !== stop);
    if (this.running !== controller) return;
    this.running = undefined;
    tell();
    if (this.waiting) this.start();
  }
}
