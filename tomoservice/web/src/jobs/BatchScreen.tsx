/** One batch: its items in the order of work, and what becomes of them. */

import { BatchActions } from "./BatchActions";
import { BatchBadge, BatchProgress } from "./BatchProgress";
import { useAccess } from "../account/access";
import { readBatch, reorderBatch } from "../api/batches";
import { useEvents } from "../api/events";
import { messageOf } from "../api/http";
import { listScans } from "../api/scans";
import type { BatchDetail, BatchItem } from "../api/types";
import { Busy, IconButton, Note, ProgressBar } from "../ui/controls";
import { span } from "../ui/format";
import { Link } from "../ui/Link";
import { addressOf } from "../ui/router";
import { StateBadge } from "../ui/StateBadge";
import { complain } from "../ui/toasts";
import { useResource } from "../ui/useResource";

export function BatchScreen({ id }: { id: string }) {
  const batch = useResource(id, (signal) => readBatch(id, signal));
  useEvents(["batch", "reconstruction"], batch.reload);
  const names = useSamples();
  const canWrite = useAccess()?.canWrite;
  const found = batch.value;
  if (!found) {
    return (
      <main className="page">
        {batch.error ? <Note tone="bad">{batch.error.message}</Note> : <Busy text="Reading the batch" />}
      </main>
    );
  }
  return (
    <main className="page">
      <div className="inner">
        <div className="row">
          <h1>{found.name || found.id}</h1>
          <BatchBadge batch={found} />
          <div className="grow" />
          {canWrite && <BatchActions batch={found} onChange={batch.reload} />}
        </div>
        <BatchProgress batch={found} />
        <Items batch={found} names={names} canWrite={canWrite === true} onChange={batch.reload} />
      </div>
    </main>
  );
}

/** Return names of samples by their run. */
function useSamples(): Map<string, string> {
  const query = { words: "", acquisition: "", offset: 0, limit: 200 };
  const scans = useResource("samples", (signal) => listScans(query, signal));
  return new Map((scans.value?.scans ?? []).map((scan) => [scan.run_uid, scan.sample_name ?? ""]));
}

interface ItemsProps {
  batch: BatchDetail;
  names: Map<string, string>;
  canWrite: boolean;
  onChange: () => void;
}

function Items({ batch, names, canWrite, onChange }: ItemsProps) {
  const waiting = batch.items.filter(isWaiting).map((item) => item.number);
  const move = async (number: number, steps: number) => {
    const order = waiting.filter((one) => one !== number);
    order.splice(Math.max(0, waiting.indexOf(number) + steps), 0, number);
    try {
      await reorderBatch(batch.id, order);
      onChange();
    } catch (error) {
      complain(messageOf(error));
    }
  };
  return (
    <div className="card">
      <table>
        <thead>
          <tr>
            <th style={{ width: 40 }}>#</th>
            <th style={{ width: "24%" }}>Sample</th>
            <th style={{ width: "20%" }}>Recipe</th>
            <th style={{ width: 110 }}>State</th>
            <th>Progress</th>
            <th style={{ width: 90 }}>
              <span className="hidden-label">Order</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {batch.items.map((item) => (
            <tr key={item.number}>
              <td className="faint number">{item.number}</td>
              <td>
                <Link href={addressOf({ screen: "volume", run: item.run_uid, id: item.id })}>
                  {names.get(item.run_uid) || item.run_uid.slice(0, 8)}
                </Link>
              </td>
              <td className="soft">{item.recipe}</td>
              <td>{item.state ? <StateBadge state={item.state} /> : <span className="badge">waiting</span>}</td>
              <td>
                <ItemProgress item={item} />
              </td>
              <td>
                {canWrite && isWaiting(item) && waiting.length > 1 && (
                  <div className="row" style={{ gap: 4 }}>
                    <IconButton glyph="up" label={`Item ${item.number} earlier`} onClick={() => void move(item.number, -1)} />
                    <IconButton glyph="down" label={`Item ${item.number} later`} onClick={() => void move(item.number, 1)} />
                  </div>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function isWaiting(item: BatchItem): boolean {
  return item.state === null || item.state === "queued";
}

function ItemProgress({ item }: { item: BatchItem }) {
  if (item.progress) {
    return (
      <div className="column" style={{ gap: 3 }}>
        <ProgressBar percent={item.progress.percent} />
        <span className="faint">{item.progress.stage}</span>
      </div>
    );
  }
  if (item.message) return <span className="soft">{item.message}</span>;
  return <span className="faint number">{item.seconds !== null ? `took ${span(item.seconds)}` : ""}</span>;
}
