/** The frame of every screen, and which screen it is. */

import { lazy, Suspense } from "react";

import { SignIn } from "./account/SignIn";
import { Account } from "./account/Account";
import { useAccess } from "./account/access";
import { connection } from "./api/http";
import { BatchScreen } from "./jobs/BatchScreen";
import { QueueScreen } from "./jobs/QueueScreen";
import { ScansScreen } from "./scans/ScansScreen";
import { Busy } from "./ui/controls";
import { ErrorBoundary } from "./ui/ErrorBoundary";
import { Link } from "./ui/Link";
import { addressOf, usePlace, type Place } from "./ui/router";
import { useStore } from "./ui/store";
import { Toasts } from "./ui/toasts";

// The viewer is large: who looks at the list of scans does not wait for it.
const Workbench = lazy(() => import("./workbench/WorkbenchScreen"));
const Live = lazy(() => import("./live/LiveScreen"));
const Volume = lazy(() => import("./volume/VolumeScreen"));

export function App() {
  const place = usePlace();
  return (
    <div className="shell">
      <Top place={place} />
      <LostConnection />
      <ErrorBoundary key={JSON.stringify(place)}>
        <Suspense fallback={<div className="empty"><Busy text="Loading" /></div>}>
          <Screen place={place} />
        </Suspense>
      </ErrorBoundary>
      <Toasts />
    </div>
  );
}

function Screen({ place }: { place: Place }) {
  const access = useAccess();
  if (access === undefined) return <div className="empty"><Busy text="Connecting" /></div>;
  if (!access.canRead) return <SignIn />;
  switch (place.screen) {
    case "scans":
      return <ScansScreen />;
    case "workbench":
      return <Workbench run={place.run} key={place.run} />;
    case "live":
      return <Live run={place.run} key={place.run} />;
    case "queue":
      return place.batch ? <BatchScreen id={place.batch} key={place.batch} /> : <QueueScreen />;
    case "volume":
      return <Volume run={place.run} id={place.id} key={`${place.run}/${place.id}`} />;
    default:
      return (
        <div className="empty">
          <h1>There is no such page</h1>
          <Link href={addressOf({ screen: "scans" })}>All scans</Link>
        </div>
      );
  }
}

function Top({ place }: { place: Place }) {
  const current = (screens: Place["screen"][]) => (screens.includes(place.screen) ? "page" : undefined);
  return (
    <header className="top">
      <Link className="brand" href={addressOf({ screen: "scans" })}>
        <img src={`${import.meta.env.BASE_URL}icon.svg`} alt="" />
        Tomoservice
      </Link>
      <nav aria-label="Screens">
        <Link href={addressOf({ screen: "scans" })} aria-current={current(["scans", "workbench", "live"])}>
          Scans
        </Link>
        <Link href={addressOf({ screen: "queue" })} aria-current={current(["queue"])}>
          Queue
        </Link>
      </nav>
      <div className="grow" />
      <Account />
    </header>
  );
}

function LostConnection() {
  const lost = useStore(connection) === "lost";
  return (
    <div aria-live="assertive">
      {lost && (
        <div className="banner">
          <span className="spinner" aria-hidden="true" />
          The connection to the service is lost. Nothing you did here is gone; the page goes on by itself when the
          service answers again.
        </div>
      )}
    </div>
  );
}
