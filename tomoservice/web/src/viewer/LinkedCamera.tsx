import { useFrame, useThree } from "@react-three/fiber";
import { useEffect } from "react";

interface Pose {
  x: number;
  y: number;
  /** Part of the picture that is seen. */
  share: number;
}

/** What makes several pictures show the same part of what they show. */
export class Link {
  private pose: Pose = { x: 0, y: 0, share: 1 };
  private readonly followers = new Set<(pose: Pose) => void>();

  get current(): Pose {
    return this.pose;
  }

  follow(follower: (pose: Pose) => void): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }

  /** Say where one of the pictures is; the others follow. */
  move(pose: Pose, mover?: (pose: Pose) => void): void {
    const { x, y, share } = this.pose;
    if (x === pose.x && y === pose.y && share === pose.share) return;
    this.pose = pose;
    for (const follower of this.followers) if (follower !== mover) follower(pose);
  }

  reset(): void {
    this.move({ x: 0, y: 0, share: 1 });
  }
}

/** Keeps the camera of a picture where those of the pictures linked with it are. */
export function LinkedCamera({ link }: { link: Link | undefined }) {
  const camera = useThree((state) => state.camera);
  const size = useThree((state) => state.size);
  const invalidate = useThree((state) => state.invalidate);

  useEffect(() => {
    if (!link) return undefined;
    const follow = ({ x, y, share }: Pose) => {
      camera.scale.set(share, share, 1);
      camera.position.set(x * size.width, y * size.height, camera.position.z);
      camera.updateMatrixWorld();
      invalidate();
    };
    follow(link.current);
    return link.follow(follow);
  }, [link, camera, size, invalidate]);

  useFrame(() => {
    if (!link || size.width === 0) return;
    const { x, y } = camera.position;
    link.move({ x: x / size.width, y: y / size.height, share: camera.scale.x });
  });
  return null;
}
