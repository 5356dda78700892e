"use strict";

// Tables: a click on a heading sorts by it, and the next click sorts the other way. Missing values stay last.
const collator = new Intl.Collator("en", { numeric: true });

function order(number, falling) {
  const sign = falling ? -1 : 1;
  return (a, b) => {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
    return sign * (number ? Number(a.key) - Number(b.key) || 0 : collator.compare(a.key, b.key));
  };
}

function sortBy(table, head) {
  const falling = head.getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: row.cells[head.cellIndex].dataset.value }));
  rows.sort(order(head.dataset.kind !== "text", falling));
  for (const { row } of rows) body.append(row);
  for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  }
}

// Clips: one control plays all videos of a row in step, frame by frame, in a loop.
// Before anything is played the posters show the last frames, so the control is at the end.
class Row {
  constructor(clip) {
    this.videos = [...clip.querySelectorAll("video")].sort((a, b) => lastOf(b) - lastOf(a)); // longest first
    this.last = lastOf(this.videos[0]);
    this.fps = Number(clip.dataset.fps);
    this.context = Number(clip.dataset.context);
    this.playing = false;
    this.player = clip.querySelector(".player");
    [this.button, this.range, this.output, this.speed] = this.player.querySelectorAll("button, input, output, select");
    this.button.addEventListener("click", () => (this.playing ? this.scrub() : this.play()));
    this.range.addEventListener("input", () => this.scrub());
    this.speed.addEventListener("change", () => {
      for (const video of this.videos) video.defaultPlaybackRate = video.playbackRate = Number(this.speed.value);
    });
    for (const video of this.videos) {
      video.removeAttribute("controls");
      video.addEventListener("error", () => this.fail(video));
    }
    this.player.hidden = false;
    this.show(this.last);
  }

  async play() {
    const from = this.range.valueAsNumber;
    this.playing = true;
    this.button.textContent = "Pause";
    await Promise.all(this.videos.map(loaded));
    if (!this.playing) return;
    this.start(from === this.last ? 0 : from);
    cancelAnimationFrame(this.next);
    this.follow();
  }

  start(frame) {
    for (const video of this.videos) {
      video.currentTime = frame === 0 ? 0 : this.middle(video, frame);
      if (frame <= lastOf(video)) video.play().catch((error) => error.name === "AbortError" || this.fail(video));
    }
  }

  follow() {
    if (!this.playing) return;
    if (this.videos.every((video) => video.ended)) this.start(0);
    const now = this.videos[0].currentTime;
    for (const video of this.videos) {
      const live = !video.ended && !video.seeking && now < video.duration;
      const off = Math.abs(video.currentTime - now);
      if (live && off > Math.max(0.1, 1.5 / this.fps)) video.currentTime = now;
    }
    this.show(Math.min(this.last, Math.floor(now * this.fps + 0.01)));
    this.next = requestAnimationFrame(() => this.follow());
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.button.textContent = "Play";
    for (const video of this.videos) video.pause();
  }

  async scrub() {
    const frame = this.range.valueAsNumber;
    this.pause();
    this.show(frame);
    await Promise.all(this.videos.map(loaded));
    if (this.playing || frame !== this.range.valueAsNumber) return;
    for (const video of this.videos) video.currentTime = this.middle(video, frame);
  }

  middle(video, frame) {
    return (Math.min(frame, lastOf(video)) + 0.5) / this.fps; // in the middle of the frame, so that rounding cannot show a neighbour
  }

  show(frame) {
    const part = this.context === 0 ? "" : frame < this.context ? ", context" : ", predicted";
    this.range.value = frame;
    this.range.setAttribute("aria-valuetext", `frame ${frame + 1} of ${this.last + 1}${part}`);
    this.output.textContent = `${frame + 1} / ${this.last + 1}`;
    for (const video of this.videos) {
      video.parentNode.classList.toggle("context", Math.min(frame, lastOf(video)) < this.context);
    }
  }

  fail(video) {
    video.parentNode.classList.replace("context", "failed") || video.parentNode.classList.add("failed");
    this.videos = this.videos.filter((other) => other !== video);
    if (this.videos.length === 0) this.pause();
    this.button.disabled = this.range.disabled = this.videos.length === 0;
  }
}

function lastOf(video) {
  return Number(video.dataset.frames) - 1;
}

function loaded(video) {
  video.arrival ??= new Promise((resolve) => {
    for (const event of ["loadeddata", "error"]) video.addEventListener(event, resolve, { once: true });
    video.preload = "auto";
    video.load();
  });
  return video.arrival; // the first load: readyState becomes lower during every seek, so it cannot tell
}

const rows = new Map();
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (!isIntersecting) rows.get(target).pause();
});
for (const clip of document.querySelectorAll(".clip")) {
  rows.set(clip, new Row(clip));
  seen.observe(clip);
}
