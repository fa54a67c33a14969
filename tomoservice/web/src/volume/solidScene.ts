/** Draws a volume as a solid: rays through a texture, the brightest voxel of each or light through mist. */

import {
  BackSide,
  BoxGeometry,
  Data3DTexture,
  GLSL3,
  LinearFilter,
  Mesh,
  PerspectiveCamera,
  RedFormat,
  Scene,
  ShaderMaterial,
  UnsignedByteType,
  Vector2,
  Vector3,
  WebGLRenderer,
} from "three";

import type { Shape } from "../api/volumes";
import type { Range } from "../image/statistics";

export type Mode = "brightest" | "mist";

const VERTEX = `
out vec3 from;
out vec3 direction;
uniform vec3 eye;
void main() {
  from = eye;
  direction = position - eye;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`;

const FRAGMENT = `
precision highp float;
precision highp sampler3D;
in vec3 from;
in vec3 direction;
out vec4 colour;
uniform sampler3D volume;
uniform vec3 extent;
uniform vec2 window;
uniform float opacity;
uniform int mode;
uniform float steps;

vec2 crossing(vec3 start, vec3 ray) {
  vec3 inverse = 1.0 / ray;
  vec3 one = (-extent - start) * inverse;
  vec3 two = (extent - start) * inverse;
  vec3 near = min(one, two);
  vec3 far = max(one, two);
  return vec2(max(near.x, max(near.y, near.z)), min(far.x, min(far.y, far.z)));
}

void main() {
  vec3 ray = normalize(direction);
  vec2 span = crossing(from, ray);
  span.x = max(span.x, 0.0);
  if (span.x > span.y) discard;
  float size = 2.0 * length(extent) / steps;
  float most = 0.0;
  float light = 0.0;
  float left = 1.0;
  for (float at = span.x; at < span.y; at += size) {
    vec3 place = (from + at * ray) / (2.0 * extent) + 0.5;
    float value = clamp((texture(volume, place).r - window.x) / (window.y - window.x), 0.0, 1.0);
    most = max(most, value);
    float part = value * value * opacity * size * 40.0;
    light += left * part * value;
    left *= exp(-part);
    if (mode == 1 && left < 0.01) break;
  }
  float shown = mode == 0 ? most : light;
  colour = vec4(vec3(shown), 1.0);
}`;

/** Steps of a ray through the whole volume. */
const STEPS = 220;

export class SolidScene {
  private readonly renderer: WebGLRenderer;
  private readonly camera = new PerspectiveCamera(35, 1, 0.01, 20);
  private readonly scene = new Scene();
  private readonly material: ShaderMaterial;
  private readonly texture: Data3DTexture;
  private readonly geometry: BoxGeometry;
  private angle = { turn: 0.6, height: 0.35 };
  private distance = 3.4;
  private frame = 0;

  /**
   * @param values voxels (z, y, x) on a scale of 0 to 255
   */
  constructor(canvas: HTMLCanvasElement, values: Uint8Array<ArrayBuffer>, shape: Shape) {
    this.renderer = new WebGLRenderer({ canvas, antialias: false });
    const [z, y, x] = shape;
    this.texture = new Data3DTexture(values, x, y, z);
    this.texture.format = RedFormat;
    this.texture.type = UnsignedByteType;
    this.texture.minFilter = this.texture.magFilter = LinearFilter;
    this.texture.unpackAlignment = 1;
    this.texture.needsUpdate = true;
    const longest = Math.max(...shape);
    const extent = new Vector3(x / longest, y / longest, z / longest);
    this.material = new ShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      side: BackSide,
      uniforms: {
        volume: { value: this.texture },
        extent: { value: extent },
        eye: { value: new Vector3() },
        window: { value: new Vector2(0.2, 1) },
        opacity: { value: 0.5 },
        mode: { value: 0 },
        steps: { value: STEPS },
      },
    });
    this.geometry = new BoxGeometry(2 * extent.x, 2 * extent.y, 2 * extent.z);
    this.scene.add(new Mesh(this.geometry, this.material));
  }

  show(mode: Mode, window: Range, opacity: number): void {
    const { uniforms } = this.material;
    uniforms.mode!.value = mode === "brightest" ? 0 : 1;
    (uniforms.window!.value as Vector2).set(window[0], Math.max(window[1], window[0] + 0.01));
    uniforms.opacity!.value = opacity;
    this.draw();
  }

  resize(width: number, height: number): void {
    if (width === 0 || height === 0) return;
    // Every pixel is a ray: no more of them than needed.
    this.renderer.setPixelRatio(1);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  turn(across: number, up: number): void {
    this.angle.turn += across;
    this.angle.height = Math.min(1.55, Math.max(-1.55, this.angle.height + up));
    this.draw();
  }

  zoom(factor: number): void {
    this.distance = Math.min(12, Math.max(1.2, this.distance * factor));
    this.draw();
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.texture.dispose();
    this.material.dispose();
    this.geometry.dispose();
    this.renderer.dispose();
  }

  private draw(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      const { turn, height } = this.angle;
      // The rotation axis of the scan, z, is upright.
      const flat = Math.cos(height) * this.distance;
      this.camera.up.set(0, 0, 1);
      this.camera.position.set(flat * Math.cos(turn), flat * Math.sin(turn), Math.sin(height) * this.distance);
      this.camera.lookAt(0, 0, 0);
      (this.material.uniforms.eye!.value as Vector3).copy(this.camera.position);
      this.renderer.render(this.scene, this.camera);
    });
  }
}
