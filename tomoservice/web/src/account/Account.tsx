import { useState } from "react";

import { useAccess } from "./access";
import { SignInForm } from "./SignIn";
import { session, signOut } from "../api/session";
import { Dialog, IconButton } from "../ui/controls";
import { useStore } from "../ui/store";
import { theme, toggleTheme } from "../ui/theme";

/** Who is signed in, and what they may do. */
export function Account() {
  const access = useAccess();
  const known = useStore(session);
  const [asking, setAsking] = useState(false);
  const dark = useStore(theme) === "dark";
  const signedIn = Boolean(known.apiKey ?? known.accessToken);
  const name = access?.name || known.user;
  return (
    <div className="row">
      {access?.canRead && !access.canWrite && (
        <span className="badge warn" title="You may look at everything; pictures of other recipes and new reconstructions take a key that may write.">
          read only
        </span>
      )}
      {name && <span className="soft">{name}</span>}
      <IconButton glyph={dark ? "sun" : "moon"} label={dark ? "Light colours" : "Dark colours"} onClick={toggleTheme} />
      {signedIn ? (
        <button type="button" className="plain" onClick={signOut}>
          Sign out
        </button>
      ) : (
        <button type="button" onClick={() => setAsking(true)}>
          Sign in
        </button>
      )}
      {asking && !signedIn && (
        <Dialog title="Sign in" onClose={() => setAsking(false)}>
          <SignInForm onDone={() => setAsking(false)} />
        </Dialog>
      )}
    </div>
  );
}
