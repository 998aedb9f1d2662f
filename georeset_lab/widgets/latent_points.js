// Points and how they become pixels: a part of the script of `LatentView` (latent_view.py), put before latent_view.js.

const PAD = 8; // hidden border, so that a dot at the edge needs no test of its own
const FADED = 0.2; // opacity of points beside the selection
const HALO = [255, 45, 120], HALO_PX = 1.7, HALO_OPACITY = 0.8; // round what is selected; the map marks it in pink too

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

// A filled circle as steps in an array whose rows are `stride` long, with soft edges.
function disc(radius, stride) {
  const offset = [], weight = [], reach = Math.min(PAD - 4, Math.ceil(radius));
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const w = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
      if (w > 0) { offset.push(dy * stride + dx); weight.push(w); }
    }
  }
  return { offset: Int32Array.from(offset), weight: Float32Array.from(weight) };
}

// Puts a colour below that of a pixel of opacity a, and returns the opacity of both.
function under(data, to, a, colour, opacity) {
  const all = a + opacity * (1 - a);
  for (let j = 0; j < 3; j++) data[to + j] = (data[to + j] * a + colour[j] * (all - a)) / all;
  return all;
}

// Up to a million points on a plain canvas. Opacity grows with the density. Where dots overlap, colours of a scale are
// averaged; of classes one dot is shown, the same at any zoom, because blue and yellow must not make a third class.
class Cloud {
  constructor() {
    this.n = 0; this.x = this.y = new Float32Array(0); this.colour = new Uint8Array(0); this.mark = null;
    this.palette = new Float32Array(768); this.mixed = false; this.cells = 0;
  }

  place(text, frame) {
    const q = new Uint16Array(bytes(text).buffer), n = q.length >> 1;
    const x = new Float32Array(n), y = new Float32Array(n);
    for (let i = 0; i < n; i++) { x[i] = frame.x0 + q[2 * i] * frame.step; y[i] = frame.y0 + q[2 * i + 1] * frame.step; }
    Object.assign(this, { n, x, y });
  }

  tint(colours, palette, mixed) {
    this.colour = bytes(colours); this.mixed = mixed;
    for (let i = 0; 6 * i < palette.length; i++) {
      const c = parseInt(palette.slice(6 * i, 6 * i + 6), 16);
      this.palette.set([c >> 16, (c >> 8) & 255, c & 255], 3 * i);
    }
  }

  paint(view, image, scale, shade) {
    const grey = [shade, shade, shade];
    const { width, height, data } = image, stride = width + 2 * PAD, cells = stride * (height + 2 * PAD);
    if (this.cells !== cells) {
      this.cells = cells; this.weight = new Float32Array(cells); this.others = new Float32Array(cells);
      this.halo = new Float32Array(cells);
      this.rgb = new Float32Array(3 * cells); this.first = new Uint32Array(cells); this.top = new Uint8Array(cells);
    }
    for (const buffer of [this.weight, this.others, this.halo, this.mixed ? this.rgb : this.first]) buffer.fill(0);
    const room = Math.sqrt((width * height) / Math.max(1, this.seen(view, width, height)));
    // What is selected stands alone and must show its colour, however thin.
    const radius = Math.min(4 * scale, Math.max(0.5, 0.5 * room)), dot = disc(radius, stride);
    const lone = this.mark !== null ? 0.92 : Math.min(0.92, 0.5 + 0.2 * radius / scale);
    this.add(view, width, height, dot, 1, this.weight, true);
    if (this.mark !== null) {
      this.add(view, width, height, dot, 0, this.others, false);
      this.add(view, width, height, disc(radius + HALO_PX * scale, stride), 1, this.halo, false);
    }
    const most = this.weight.reduce((a, b) => (a > b ? a : b), 1), rise = (1 - lone) / Math.log1p(most);
    data.fill(0);
    for (let row = 0; row < height; row++) {
      for (let col = 0, from = (row + PAD) * stride + PAD, to = 4 * row * width; col < width; col++, from++, to += 4) {
        const w = this.weight[from];
        let a = w > 0 ? Math.min(1, w) * (lone + rise * Math.log1p(w)) : 0;
        if (w > 0) {
          const source = this.mixed ? this.rgb : this.palette, at = 3 * (this.mixed ? from : this.top[from]), per = this.mixed ? 1 / w : 1;
          for (let j = 0; j < 3; j++) data[to + j] = source[at + j] * per;
        }
        // Below the dots: the halo of what is selected, and below that all other points.
        if (this.halo[from] > 0) a = under(data, to, a, HALO, HALO_OPACITY * Math.min(1, this.halo[from]));
        if (this.others[from] > 0) a = under(data, to, a, grey, FADED * Math.min(1, this.others[from]));
        data[to + 3] = 255 * a;
      }
    }
  }

  // Dots of the points that are (1) or are not (0) marked; all, if none is.
  add(view, width, height, { offset, weight }, wanted, sum, coloured) {
    const { x, y, n, colour, palette, mark, mixed, rgb, first, top } = this, { k, cx, cy } = view;
    const stride = width + 2 * PAD, dots = offset.length, x0 = width / 2 - cx * k + PAD, y0 = height / 2 + cy * k + PAD;
    for (let i = 0; i < n; i++) {
      if (mark !== null && ((mark[i >> 3] >> (i & 7)) & 1) !== wanted) continue;
      const px = x0 + x[i] * k, py = y0 - y[i] * k;
      if (!(px >= PAD - 4 && py >= PAD - 4 && px < width + PAD + 4 && py < height + PAD + 4)) continue;
      const at = (py | 0) * stride + (px | 0), c = colour[i], before = Math.imul(i + 1, 2654435761) >>> 0;
      for (let j = 0; j < dots; j++) {
        const t = at + offset[j], w = weight[j];
        if (coloured && mixed) {
          rgb[3 * t] += palette[3 * c] * w; rgb[3 * t + 1] += palette[3 * c + 1] * w; rgb[3 * t + 2] += palette[3 * c + 2] * w;
        } else if (coloured && (sum[t] === 0 || (w > 0.4 && before > first[t]))) {
          if (w > 0.4) first[t] = before;
          top[t] = c;
        }
        sum[t] += w;
      }
    }
  }

  seen(view, width, height) {
    const { x, y, n } = this, halfX = width / 2 / view.k, halfY = height / 2 / view.k;
    let count = 0;
    for (let i = 0; i < n; i++) if (Math.abs(x[i] - view.cx) < halfX && Math.abs(y[i] - view.cy) < halfY) count++;
    return count;
  }

  nearest(view, width, height, px, py, within) {
    let best = within * within, found = -1;
    for (let i = 0; i < this.n; i++) {
      const dx = width / 2 + (this.x[i] - view.cx) * view.k - px, dy = height / 2 - (this.y[i] - view.cy) * view.k - py;
      const d = dx * dx + dy * dy;
      if (d < best) { best = d; found = i; }
    }
    return found;
  }
}

