/** A scan while it goes on: three slices that get sharper, and where they are. */

import { useEffect, useState } from "react";

import { useAccess } from "../account/access";
import { useEvents } from "../api/events";
import { livePicture, readLive, wishLive, type LivePicture } from "../api/live";
import { ApiError } from "../api/http";
import type { LiveDetail } from "../api/types";
import { AuthorizedImage } from "../ui/AuthorizedImage";
import { Busy, Note, ProgressBar } from "../ui/controls";
import { useSettled } from "../ui/hooks";
import { Link } from "../ui/Link";
import { NumberInput } from "../ui/NumberInput";
import { addressOf } from "../ui/router";
import { useAct } from "../ui/useAct";
import { useResource } from "../ui/useResource";
import "../style/live.css";

type Axis = "z" | "y" | "x";

/** Each picture, the axis that it lies across, and what it shows. */
const PICTURES: { picture: LivePicture; across: Axis; name: string }[] = [
  { picture: "xy", across: "z", name: "Across the axis" },
  { picture: "xz", across: "y", name: "Along the axis, from the front" },
  { picture: "yz", across: "x", name: "Along the axis, from the side" },
];
const TONES: Record<string, string> = {
  accumulating: "busy",
  finishing: "busy",
  done: "good",
  failed: "bad",
  aborted: "warn",
  unreadable: "warn",
};

export default function LiveScreen({ run }: { run: string }) {
  const found = useResource(run, (signal) => readLive(run, signal));
  useEvents(["live"], found.reload);
  const [last, setLast] = useState<LiveDetail>();
  useEffect(() => {
    if (found.value) setLast(found.value);
  }, [found.value]);
  if (!last) return <Nothing error={found.error} />;
  return (
    <main className="page">
      <div className="inner">
        <Head run={run} detail={last} />
        {last.live.message && <Note tone={last.live.state === "failed" ? "bad" : undefined}>{last.live.message}</Note>}
        {found.error && <Note tone="bad">{found.error.message}</Note>}
        <div className="live-pictures">
          {PICTURES.map(({ picture, across, name }) => (
            <Picture key={picture} run={run} detail={last} picture={picture} across={across} name={name} />
          ))}
        </div>
      </div>
    </main>
  );
}

function Nothing({ error }: { error: Error | undefined }) {
  if (!error) return <div className="empty"><Busy text="Looking for the scan" /></div>;
  const none = error instanceof ApiError && error.status === 404;
  return (
    <div className="empty">
      <h1>{none ? "This scan is not followed" : "Nothing to be seen"}</h1>
      <p>{none ? "Only scans that go on are shown live, and the latest of those that did." : error.message}</p>
      <Link href={addressOf({ screen: "scans" })}>All scans</Link>
    </div>
  );
}

function Head({ run, detail }: { run: string; detail: LiveDetail }) {
  const { live } = detail;
  const axis = live.rotation_axis;
  const left = [
    live.frames_invalid > 0 && `${live.frames_invalid} without beam or angle`,
    live.frames_skipped > 0 && `${live.frames_skipped} skipped for now`,
  ].filter(Boolean);
  return (
    <div className="column">
      <div className="row wrap">
        <h1>Live</h1>
        <span className={`badge ${TONES[live.state] ?? ""}`}>{live.state}</span>
        <span className="faint">{run.slice(0, 8)}</span>
        <span className="grow" />
        <Link href={addressOf({ screen: "workbench", run })}>Workbench</Link>
      </div>
      <div className="row wrap soft number" aria-live="polite">
        <span>
          {live.frames_used} of {live.frames_expected ?? "?"} projections
        </span>
        {left.length > 0 && <span>{left.join(", ")}</span>}
        {axis.value !== null && (
          <span title={axis.source}>
            axis {axis.value.toFixed(2)}
            {axis.provisional ? " (provisional)" : ""}
          </span>
        )}
        {live.delta_beta !== null && <span>δ/β {live.delta_beta}</span>}
        {live.flat.source && (
          <span title={live.flat.source}>{live.flat.provisional ? "flat provisional" : "own flats"}</span>
        )}
        <span className="grow" />
        {!detail.over && <Wish run={run} detail={detail} name="rotation_axis" label="axis" nothing="automatic" />}
        {!detail.over && <Wish run={run} detail={detail} name="delta_beta" label="δ/β" nothing="no phase" />}
      </div>
      {live.frames_expected !== null && !detail.over && (
        <ProgressBar percent={(100 * live.frames_used) / live.frames_expected} />
      )}
    </div>
  );
}

interface WishProps {
  run: string;
  detail: LiveDetail;
  name: "rotation_axis" | "delta_beta";
  label: string;
  /** What an empty field means. */
  nothing: string;
}

/** A number that the next updates follow, once it has been typed. */
function Wish({ run, detail, name, label, nothing }: WishProps) {
  const canWrite = useAccess()?.canWrite ?? false;
  const { act } = useAct(() => undefined);
  const [wanted, setWanted] = useState<number | null>();
  const settled = useSettled(wanted, 600);
  useEffect(() => {
    if (settled === undefined) return;
    // From then on what is wished counts, by whomever; what was refused is told and forgotten.
    void act(() => wishLive(run, { [name]: settled })).finally(() =>
      setWanted((now) => (now === settled ? undefined : now)),
    );
  }, [settled]);
  if (!canWrite) return null;
  return (
    <label className="row live-wish">
      {label}
      <NumberInput
        label={`Wished ${label}`}
        value={wanted === undefined ? detail.wishes[name] : wanted}
        limits={{ minimum: 0 }}
        placeholder={nothing}
        nullable
        onChange={setWanted}
      />
    </label>
  );
}

interface PictureProps {
  run: string;
  detail: LiveDetail;
  picture: LivePicture;
  across: Axis;
  name: string;
}

function Picture({ run, detail, picture, across, name }: PictureProps) {
  const { live, shapes } = detail;
  const [missing, setMissing] = useState<number>();
  const there = shapes[picture] !== undefined && missing !== live.update;
  return (
    <figure className="card live-picture">
      <figcaption className="row">
        <strong>{name}</strong>
        <span className="faint">{[...picture].reverse().join(", ")}</span>
      </figcaption>
      <div className="live-canvas">
        {there ? (
          <AuthorizedImage
            src={livePicture(run, picture, live.update)}
            alt={`${picture} slice of the scan that goes on`}
            onMissing={() => setMissing(live.update)}
          />
        ) : (
          <span className="faint">waiting for projections</span>
        )}
      </div>
      <Position run={run} detail={detail} across={across} />
    </figure>
  );
}

/** Moves a slice: a wish that the next update follows. */
function Position({ run, detail, across }: { run: string; detail: LiveDetail; across: Axis }) {
  const canWrite = useAccess()?.canWrite ?? false;
  const shown = detail.live.slices?.[across];
  const { act } = useAct(() => undefined);
  const [wanted, setWanted] = useState<number>();
  const settled = useSettled(wanted, 200);
  useEffect(() => {
    if (settled !== undefined) void act(() => wishLive(run, { slices: slicesWith(across, settled) }));
  }, [settled]);
  // It has been followed: from now on what is shown counts.
  useEffect(() => {
    if (shown === settled) setWanted(undefined);
  }, [shown, settled]);
  if (shown === undefined) return null;
  const most = (across === "z" ? detail.shapes.xz?.[0] : detail.shapes.xy?.[0]) ?? shown + 1;
  return (
    <label className="row">
      <span className="number">
        {across} = {wanted ?? shown}
      </span>
      <input
        type="range"
        className="grow"
        aria-label={`Position along ${across}`}
        min={0}
        max={most - 1}
        value={wanted ?? shown}
        disabled={!canWrite || detail.over}
        onChange={(event) => setWanted(Number(event.target.value))}
      />
    </label>
  );
}

function slicesWith(across: Axis, value: number): LiveDetail["wishes"]["slices"] {
  // What is not mentioned stays as it is.
  return { [across]: value } as unknown as LiveDetail["wishes"]["slices"];
}
