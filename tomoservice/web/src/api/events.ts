/** What happens in the service, told over a WebSocket; whoever listens reads again what it concerns. */

import { useEffect, useRef } from "react";

import { connection, TOMO } from "./http";
import { session } from "./session";
import type { ServiceEvent } from "./types";
import { makeStore } from "../ui/store";

type Listener = (event: ServiceEvent | undefined) => void;

const listeners = new Set<Listener>();
const RETRY_MS = [500, 1000, 2000, 5000];
/** Milliseconds within which many events are one reason to read again. */
const TOGETHER_MS = 400;
/** Milliseconds between readings while events do not come. */
const POLL_MS = 5000;

/** Whether events come. */
export const listening = makeStore(false);

let socket: WebSocket | undefined;
let tries = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

function address(): string {
  const scheme = window.location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${window.location.host}${TOMO}/events`;
}

/** Return who listens. It is said in a message: addresses are written to logs. */
function introduction(): string | undefined {
  const { apiKey, accessToken } = session.get();
  if (apiKey) return JSON.stringify({ type: "auth", api_key: apiKey });
  if (accessToken) return JSON.stringify({ type: "auth", access_token: accessToken });
  return undefined;
}

function open(): void {
  clearTimeout(timer);
  const opened = new WebSocket(address());
  socket = opened;
  opened.onopen = () => {
    const known = introduction();
    if (known) opened.send(known);
    tries = 0;
    listening.set(true);
    connection.set("connected");
    // What happened while nobody listened is not told again.
    tell(undefined);
  };
  opened.onmessage = (message) => tell(JSON.parse(String(message.data)) as ServiceEvent);
  opened.onclose = () => {
    if (socket !== opened) return;
    listening.set(false);
    timer = setTimeout(open, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
    tries += 1;
  };
}

function close(): void {
  clearTimeout(timer);
  const closed = socket;
  socket = undefined;
  listening.set(false);
  if (!closed) return;
  closed.onmessage = null;
  // A browser complains if a connection is closed before it stands.
  if (closed.readyState === WebSocket.CONNECTING) closed.onopen = () => closed.close();
  else closed.close();
}

session.watch(() => {
  if (listeners.size > 0) {
    close();
    open();
  }
});

function tell(event: ServiceEvent | undefined): void {
  for (const listener of [...listeners]) listener(event);
}

function listen(listener: Listener): () => void {
  listeners.add(listener);
  if (listeners.size === 1) open();
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) close();
  };
}

/** Call `changed` soon after something of these kinds has happened, and now and then while nothing is told. */
export function useEvents(types: readonly ServiceEvent["type"][], changed: () => void): void {
  const latest = useRef(changed);
  latest.current = changed;
  const wanted = types.join();
  useEffect(() => {
    let soon: ReturnType<typeof setTimeout> | undefined;
    const later = () => {
      soon ??= setTimeout(() => {
        soon = undefined;
        latest.current();
      }, TOGETHER_MS);
    };
    const stop = listen((event) => {
      if (!event || wanted.split(",").includes(event.type)) later();
    });
    const poll = setInterval(() => {
      if (!listening.get()) latest.current();
    }, POLL_MS);
    return () => {
      stop();
      clearInterval(poll);
      clearTimeout(soon);
    };
  }, [wanted]);
}
