import { BatchActions } from "./BatchActions";
import { BatchBadge, BatchProgress } from "./BatchProgress";
import { useAccess } from "../account/access";
import { listBatches } from "../api/batches";
import { useEvents } from "../api/events";
import { ago } from "../ui/format";
import { useNow } from "../ui/hooks";
import { Link } from "../ui/Link";
import { addressOf } from "../ui/router";
import { useResource } from "../ui/useResource";

/** The newest batches. */
export function Batches() {
  const batches = useResource("batches", (signal) => listBatches(10, signal));
  useEvents(["batch", "reconstruction"], batches.reload);
  const canWrite = useAccess()?.canWrite;
  const now = useNow();
  const page = batches.value;
  if (!page || page.batches.length === 0) return null;
  return (
    <section className="column">
      <h2>Batches</h2>
      <div className="card">
        <table>
          <tbody>
            {page.batches.map((batch) => (
              <tr key={batch.id}>
                <td style={{ width: "24%" }}>
                  <Link href={addressOf({ screen: "queue", batch: batch.id })}>
                    <strong>{batch.name || batch.id}</strong>
                  </Link>
                  <div className="faint">{ago(batch.requested_at, now)}</div>
                </td>
                <td style={{ width: 110 }}>
                  <BatchBadge batch={batch} />
                </td>
                <td>
                  <BatchProgress batch={batch} />
                </td>
                <td style={{ width: 150 }}>{canWrite && <BatchActions batch={batch} onChange={batches.reload} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
