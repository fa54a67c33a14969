import { useState } from "react";
import { messageOf } from "../api/http";
import { complain } from "./toasts";

/** Does one thing at a time, and says so when it fails. */
export function useAct(onChange: () => void) {
  const [busy, setBusy] = useState(false);
  const act = async (work: () => Promise<unknown>) => {
    setBusy(true);
    try {
      await work();
      onChange();
    } catch (error) {
      complain(messageOf(error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, act };
}
