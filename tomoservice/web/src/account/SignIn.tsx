import { useState, type FormEvent } from "react";

import { providers, type Provider } from "./access";
import { ApiError, askJson, messageOf, TOMO } from "../api/http";
import { authorization, signIn, type Session } from "../api/session";
import { Note } from "../ui/controls";
import { useResource } from "../ui/useResource";

/** The screen for whoever may not see anything yet. */
export function SignIn() {
  return (
    <div className="sign-in">
      <div className="card" style={{ width: "min(400px, 100%)" }}>
        <div style={{ padding: "20px 24px 0" }}>
          <h1>Sign in</h1>
        </div>
        <SignInForm onDone={() => undefined} />
      </div>
    </div>
  );
}

type Way = { kind: "key" } | { kind: "password"; provider: Provider };

export function SignInForm({ onDone }: { onDone: () => void }) {
  const offered = useResource("providers", providers);
  const [way, setWay] = useState<Way>();
  const [error, setError] = useState("");
  const [keep, setKeep] = useState(false);
  const [waiting, setWaiting] = useState(false);
  const passwords = (offered.value ?? []).filter((one) => one.mode === "internal" || one.mode === "password");
  const externals = (offered.value ?? []).filter((one) => one.mode === "external");
  const chosen: Way = way ?? (passwords[0] ? { kind: "password", provider: passwords[0] } : { kind: "key" });

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setWaiting(true);
    setError("");
    try {
      signIn(await sessionFor(chosen, form), keep);
      onDone();
    } catch (problem) {
      setError(messageOf(problem));
    } finally {
      setWaiting(false);
    }
  };

  return (
    <form className="column" onSubmit={submit} style={{ padding: 24, gap: 12 }}>
      {chosen.kind === "key" ? (
        <>
          <label className="field">
            API key
            <input name="key" type="password" autoComplete="off" required autoFocus aria-describedby="sign-in-key" />
          </label>
          <p className="help" id="sign-in-key">
            A service on your own machine keeps it in the file api_key of its data folder; “tomoservice serve” says where.
          </p>
        </>
      ) : (
        <>
          <label className="field">
            User name
            <input name="user" autoComplete="username" required autoFocus />
          </label>
          <label className="field">
            Password
            <input name="password" type="password" autoComplete="current-password" required />
          </label>
        </>
      )}
      <label className="check">
        <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} />
        Stay signed in on this computer
      </label>
      {error && <Note tone="bad">{error}</Note>}
      <button type="submit" className="primary" disabled={waiting}>
        Sign in
      </button>
      <Ways chosen={chosen} passwords={passwords} externals={externals} onChoose={setWay} />
    </form>
  );
}

interface WaysProps {
  chosen: Way;
  passwords: Provider[];
  externals: Provider[];
  onChoose: (way: Way) => void;
}

function Ways({ chosen, passwords, externals, onChoose }: WaysProps) {
  const others = passwords.filter((one) => chosen.kind === "key" || chosen.provider.provider !== one.provider);
  return (
    <div className="column">
      {others.map((provider) => (
        <button key={provider.provider} type="button" onClick={() => onChoose({ kind: "password", provider })}>
          Name and password ({provider.provider})
        </button>
      ))}
      {chosen.kind !== "key" && passwords.length > 0 && (
        <button type="button" className="plain" onClick={() => onChoose({ kind: "key" })}>
          Use an API key
        </button>
      )}
      {externals.map((provider) => (
        <a key={provider.provider} className="button" href={provider.links.auth_endpoint} target="_blank" rel="noreferrer">
          Sign in with {provider.provider}, then make an API key there
        </a>
      ))}
    </div>
  );
}

async function sessionFor(way: Way, form: FormData): Promise<Session> {
  if (way.kind === "key") {
    const found = { apiKey: String(form.get("key")).trim() };
    // A wrong key is an error here and now, not with the first request that needs it.
    await askJson(`${TOMO}/me`, { headers: authorization(found) });
    return found;
  }
  const user = String(form.get("user"));
  const answer = await fetch(way.provider.links.auth_endpoint.replace(/^https?:\/\/[^/]+/, ""), {
    method: "POST",
    credentials: "omit",
    body: new URLSearchParams({ username: user, password: String(form.get("password")), grant_type: "password" }),
  });
  if (!answer.ok) {
    const wrong = answer.status === 401 || answer.status === 403;
    throw new ApiError(answer.status, wrong ? "Name or password is wrong." : await answer.text());
  }
  const tokens = (await answer.json()) as { access_token: string; refresh_token: string };
  return { accessToken: tokens.access_token, refreshToken: tokens.refresh_token, user };
}
