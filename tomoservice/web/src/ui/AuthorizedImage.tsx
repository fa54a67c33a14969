import { useEffect, useState } from "react";

import { ask } from "../api/http";

interface Props {
  src: string;
  alt: string;
  onMissing: () => void;
}

/** A picture that only those may see who are signed in: the browser's own requests bring no key. */
export function AuthorizedImage({ src, alt, onMissing }: Props) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const controller = new AbortController();
    let made = "";
    ask(src, { signal: controller.signal })
      .then((answer) => answer.blob())
      .then((blob) => {
        if (controller.signal.aborted) return;
        made = URL.createObjectURL(blob);
        setAddress(made);
      })
      .catch(() => {
        if (!controller.signal.aborted) onMissing();
      });
    return () => {
      controller.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [src]);
  const [hair, setHair] = useState(false);
  if (!address) return null;
  return (
    <img
      src={address}
      alt={alt}
      // Of a scan of a few rows nothing would be seen but a line.
      style={hair ? { objectFit: "fill" } : undefined}
      onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) => setHair(naturalWidth > 8 * naturalHeight)}
    />
  );
}
