import { useState } from "react";

import { AuthorizedImage } from "../ui/AuthorizedImage";
import { scanPath } from "../api/scans";
import type { ScanSummary } from "../api/types";
import { ProgressBar } from "../ui/controls";
import { ago, bytes, digits } from "../ui/format";
import { useNow } from "../ui/hooks";
import { Link } from "../ui/Link";
import { addressOf, go } from "../ui/router";
import { StateBadge } from "../ui/StateBadge";

interface Props {
  scan: ScanSummary;
  /** Undefined for whoever may not have anything reconstructed. */
  chosen: boolean | undefined;
  onChoose: (chosen: boolean) => void;
}

/** One scan of the list. */
export function ScanRow({ scan, chosen, onChoose }: Props) {
  const now = useNow();
  const address = addressOf({ screen: "workbench", run: scan.run_uid });
  return (
    <tr onClick={() => go(address)}>
      {chosen !== undefined && (
        <td style={{ width: 34, paddingRight: 0 }} onClick={(event) => event.stopPropagation()}>
          <input
            type="checkbox"
            aria-label={`Choose ${scan.sample_name ?? scan.run_uid}`}
            checked={chosen}
            disabled={Boolean(scan.problem)}
            onChange={(event) => onChoose(event.target.checked)}
          />
        </td>
      )}
      <td>
        <div className="pictures">
          <Thumbnail scan={scan} kind="projection" />
          <Thumbnail scan={scan} kind="slice" />
        </div>
      </td>
      <td>
        <Link className="sample" href={address} onClick={(event) => event.stopPropagation()}>
          {scan.sample_name || scan.title || "without a name"}
        </Link>
        <div className="faint ellipsis" style={{ maxWidth: 300 }} title={scan.run_uid}>
          {scan.title && scan.title !== scan.sample_name ? `${scan.title} · ` : ""}
          {scan.run_uid.slice(0, 8)}
        </div>
        {scan.problem && (
          <div className="ellipsis" style={{ maxWidth: 300, color: "var(--warn)" }} title={scan.problem}>
            {scan.problem}
          </div>
        )}
      </td>
      <td className="soft number">
        {scan.energy_kev !== null && <div>{digits(scan.energy_kev)} keV</div>}
        {scan.pixel_size_um !== null && <div className="faint">{digits(scan.pixel_size_um, 3)} µm pixels</div>}
      </td>
      <td className="soft number">
        <div>
          {scan.columns ?? "?"} × {scan.rows ?? "?"} × {scan.projections ?? "?"}
        </div>
        <div className="faint">{bytes(scan.size_bytes)}</div>
      </td>
      <td className="soft number">
        <div title={scan.started ? new Date(scan.started * 1000).toLocaleString() : ""}>{ago(scan.started, now)}</div>
        <Acquisition scan={scan} />
      </td>
      <td className="progress-cell">
        <Reconstructions scan={scan} />
      </td>
    </tr>
  );
}

function Acquisition({ scan }: { scan: ScanSummary }) {
  if (scan.acquisition === "running") {
    return (
      <Link
        className="badge busy"
        href={addressOf({ screen: "live", run: scan.run_uid })}
        onClick={(event) => event.stopPropagation()}
      >
        live
      </Link>
    );
  }
  if (scan.acquisition === "failed") return <span className="badge bad">{scan.exit_status ?? "failed"}</span>;
  return null;
}

function Reconstructions({ scan }: { scan: ScanSummary }) {
  const { latest, queued, running, done, failed } = scan.reconstructions;
  if (!latest) return <span className="faint">none</span>;
  const others = [
    running > 1 && `${running} running`,
    queued > 0 && latest.state !== "queued" && `${queued} queued`,
    done > 1 && `${done} done`,
    failed > 0 && latest.state !== "failed" && `${failed} failed`,
  ].filter(Boolean);
  return (
    <div className="column" style={{ gap: 4 }}>
      <div className="row">
        <StateBadge state={latest.state} />
        {latest.state === "done" && (
          <Link
            href={addressOf({ screen: "volume", run: scan.run_uid, id: latest.id })}
            onClick={(event) => event.stopPropagation()}
          >
            look at it
          </Link>
        )}
      </div>
      {latest.state === "running" && <ProgressBar percent={latest.percent ?? 0} />}
      {others.length > 0 && <span className="faint">{others.join(", ")}</span>}
    </div>
  );
}

function Thumbnail({ scan, kind }: { scan: ScanSummary; kind: "projection" | "slice" }) {
  const [missing, setMissing] = useState<string | number>();
  // A new picture is asked for when something may have changed it.
  const version = kind === "projection" ? scan.acquisition : scan.reconstructions.done;
  const nothing = !(kind === "projection" ? scan.projections : scan.reconstructions.done);
  return (
    <span className="thumbnail">
      {nothing || missing === version ? (
        <span className="none">no {kind}</span>
      ) : (
        <AuthorizedImage
          key={version}
          src={`${scanPath(scan.run_uid)}/thumbnail?kind=${kind}&width=184`}
          alt={`${kind} of ${scan.sample_name ?? scan.run_uid}`}
          onMissing={() => setMissing(version)}
        />
      )}
    </span>
  );
}
