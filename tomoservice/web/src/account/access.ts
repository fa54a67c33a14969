/** What whoever uses the page may do, and how they can sign in. */

import { API, askJson, ConnectionError, TOMO } from "../api/http";
import { session } from "../api/session";
import type { Me } from "../api/types";
import { makeStore, useStore } from "../ui/store";

export interface Access {
  canRead: boolean;
  /** Whether previews may be computed and reconstructions asked for. */
  canWrite: boolean;
  /** Empty where there are no accounts. */
  name: string;
}

export interface Provider {
  provider: string;
  mode: "internal" | "external" | string;
  links: { auth_endpoint: string };
  confirmation_message: string | null;
}

const access = makeStore<Access | undefined>(undefined);
const AGAIN_MS = 2000;

async function learn(): Promise<void> {
  const asking = session.get();
  try {
    const me = await askJson<Me>(`${TOMO}/me`);
    if (asking === session.get()) access.set({ canRead: me.can_read, canWrite: me.can_write, name: me.name });
  } catch (error) {
    if (error instanceof ConnectionError) setTimeout(learn, AGAIN_MS);
    else access.set({ canRead: false, canWrite: false, name: "" });
  }
}

session.watch(learn);
void learn();

export function useAccess(): Access | undefined {
  return useStore(access);
}

/** Return the ways of signing in that the service offers beside API keys. */
export async function providers(): Promise<Provider[]> {
  const about = await askJson<{ authentication: { providers: Provider[] } }>(`${API}/`);
  return about.authentication.providers;
}
