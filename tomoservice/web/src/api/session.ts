/** Who is signed in: an API key, or tokens that Tiled gave for a password. */

import { makeStore } from "../ui/store";

export interface Session {
  apiKey?: string;
  accessToken?: string;
  refreshToken?: string;
  /** Name to show. */
  user?: string;
}

const KEY = "tomoservice.session";

/** Who is signed in on this page. */
export const session = makeStore<Session>(readSession());

function readSession(): Session {
  const given = keyInAddress();
  if (given) {
    const found = { apiKey: given };
    sessionStorage.setItem(KEY, JSON.stringify(found));
    return found;
  }
  for (const storage of [globalThis.sessionStorage, globalThis.localStorage]) {
    const text = storage?.getItem(KEY);
    if (text) return JSON.parse(text) as Session;
  }
  return {};
}

/** Take the key out of `#api_key=...`: what stands behind `#` is never sent to any server. */
function keyInAddress(): string | undefined {
  if (!globalThis.location?.hash.startsWith("#api_key=")) return undefined;
  const key = decodeURIComponent(location.hash.slice("#api_key=".length));
  history.replaceState(history.state, "", location.pathname + location.search);
  return key;
}

/** Remember a session in this tab, or in this browser until somebody signs out. */
export function signIn(found: Session, keep: boolean): void {
  (keep ? localStorage : sessionStorage).setItem(KEY, JSON.stringify(found));
  session.set(found);
}

/** Replace tokens that have run out. */
export function renew(found: Session): void {
  const storage = localStorage.getItem(KEY) ? localStorage : sessionStorage;
  storage.setItem(KEY, JSON.stringify(found));
  session.set(found);
}

export function signOut(): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  session.set({});
}

/** Return the header that says who asks. */
export function authorization(found: Session = session.get()): Record<string, string> {
  if (found.apiKey) return { Authorization: `Apikey ${found.apiKey}` };
  if (found.accessToken) return { Authorization: `Bearer ${found.accessToken}` };
  return {};
}
