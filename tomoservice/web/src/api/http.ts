/** Requests to the service: who asks, errors in words, and whether the service answers at all. */

import { makeStore } from "../ui/store";
import type { FieldProblem } from "./types";
import { authorization, renew, session, signOut } from "./session";

export const API = "/api/v1";
export const TOMO = `${API}/tomo`;

/** An answer that says no. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** Seconds after which to try again, if the service said so. */
    readonly retryAfter?: number,
    /** Which fields are wrong, by their path. */
    readonly problems: FieldProblem[] = [],
  ) {
    super(message);
  }
}

/** Nobody answered. */
export class ConnectionError extends Error {
  constructor() {
    super("The service does not answer.");
  }
}

export type Connection = "connected" | "lost";

/** Whether the last request was answered. */
export const connection = makeStore<Connection>("connected");

export interface Asked {
  method?: string;
  body?: unknown;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** Send a request; whatever is no success is an error. */
export async function ask(path: string, asked: Asked = {}): Promise<Response> {
  const answer = await send(path, asked);
  if (answer.status === 401 && session.get().refreshToken && (await refreshed())) {
    return checked(await send(path, asked));
  }
  return checked(answer);
}

/** Send a request and read the JSON that comes back. */
export async function askJson<T>(path: string, asked: Asked = {}): Promise<T> {
  const answer = await ask(path, asked);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

async function send(path: string, { method, body, signal, headers }: Asked): Promise<Response> {
  const content: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      // Tiled refuses requests that bring a cookie but no token of its own; ours say who asks in a header.
      credentials: "omit",
      headers: { ...authorization(), ...content, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (isAborted(error)) throw error;
    connection.set("lost");
    throw new ConnectionError();
  }
  // A proxy answers for a service that is gone.
  connection.set(answer.status === 502 || answer.status === 504 ? "lost" : "connected");
  return answer;
}

async function checked(answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  const retry = Number(answer.headers.get("Retry-After"));
  const { detail, problems } = refusalOf(await answer.text());
  const message = detail || `${answer.status} ${answer.statusText}`;
  throw new ApiError(answer.status, message, retry > 0 ? retry : undefined, problems);
}

/** Read why a request was refused; what is no JSON is said as it is. */
function refusalOf(text: string): { detail: string; problems: FieldProblem[] } {
  try {
    const { detail, problems } = JSON.parse(text) as { detail?: unknown; problems?: FieldProblem[] };
    return { detail: typeof detail === "string" ? detail : JSON.stringify(detail ?? text), problems: problems ?? [] };
  } catch {
    return { detail: text, problems: [] };
  }
}

async function refreshed(): Promise<boolean> {
  const known = session.get();
  const answer = await send(`${API}/auth/session/refresh`, {
    method: "POST",
    body: { refresh_token: known.refreshToken },
  });
  if (!answer.ok) {
    signOut();
    return false;
  }
  const tokens = (await answer.json()) as { access_token: string; refresh_token: string };
  renew({ ...known, accessToken: tokens.access_token, refreshToken: tokens.refresh_token });
  return true;
}

export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Return what went wrong, in words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
