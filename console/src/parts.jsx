import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { CallError, get, post } from "./api.js";
import { short } from "./format.js";

// Fetch a document now, and again whenever `tick` changes; the last one stays on the page while the next is fetched.
export function useDocument(path, tick = 0) {
  const [state, setState] = useState({ path: null, data: null, error: null });
  useEffect(() => {
    if (!path) return undefined;
    const control = new AbortController();
    get(path, control.signal).then(
      (data) => setState({ path, data, error: null }),
      (error) => error.name !== "AbortError" && setState((old) => ({ path, data: old.path === path ? old.data : null, error })),
    );
    return () => control.abort();
  }, [path, tick]);
  return state.path === path ? state : { path, data: null, error: null };
}

export function Panel({ title, note, actions, children, wide, label }) {
  return (
    <section class={`panel${wide ? " wide" : ""}`} aria-label={label || title}>
      {(title || actions) && (
        <header>
          <div>
            {title && <h2>{title}</h2>}
            {note && <p class="note">{note}</p>}
          </div>
          {actions}
        </header>
      )}
      {children}
    </section>
  );
}

export const Empty = ({ children }) => <p class="empty">{children}</p>;

export function Problem({ error }) {
  const missing = error instanceof CallError && error.status === 503;
  return (
    <p class={missing ? "empty" : "problem"} role="alert">
      {error.message || String(error)}
    </p>
  );
}

// What a document looks like before it is there, if it cannot be had, and when it is.
export function Loaded({ of, children }) {
  if (of.data === null) return of.error ? <Problem error={of.error} /> : <p class="empty">Loading …</p>;
  return (
    <>
      {of.error && <Problem error={of.error} />}
      {children(of.data)}
    </>
  );
}

export function Choice({ label, options, value, onChange }) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([name, text]) => (
        <button type="button" key={name} aria-pressed={value === name} onClick={() => onChange(name)}>
          {text}
        </button>
      ))}
    </div>
  );
}

// A button that changes something: asks first if told to, says what came of it.
export function Action({ path, body, text, ask, done, onDone, disabled, why }) {
  const [state, setState] = useState({ step: "idle" });
  async function act() {
    setState({ step: "busy" });
    try {
      const answer = await post(path, body);
      setState({ step: "said", text: done ? done(answer) : "Done." });
      onDone?.(answer);
    } catch (error) {
      setState({ step: "said", text: error.message, bad: true });
    }
  }
  if (state.step === "asking")
    return (
      <span class="action" role="group" aria-label={ask}>
        <span>{ask}</span>
        <button type="button" class="primary" onClick={act}>
          Yes
        </button>
        <button type="button" onClick={() => setState({ step: "idle" })}>
          No
        </button>
      </span>
    );
  return (
    <span class="action">
      <button type="button" disabled={disabled || state.step === "busy"} title={disabled ? why : undefined} onClick={() => (ask ? setState({ step: "asking" }) : act())}>
        {state.step === "busy" ? "…" : text}
      </button>
      {state.step === "said" && (
        <span class={state.bad ? "bad" : "note"} role="status">
          {state.text}
        </span>
      )}
    </span>
  );
}

const colour = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

// Lines over time. `series` are {label, colour: a CSS variable, values, format}; a hover shows the values at that time.
export function Chart({ t, series, height = 110, label, format = short, axis: axisFormat = format, floor = 0, theme }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [index, setIndex] = useState(null);
  const shape = series.map((line) => line.label).join();
  useLayoutEffect(() => {
    const element = box.current;
    const grid = colour(element, "--line");
    const axis = { stroke: colour(element, "--muted"), font: "11px system-ui", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const chart = new uPlot(
      {
        width: element.clientWidth || 300,
        height,
        legend: { show: false },
        padding: [8, 14, 0, 0],
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: true }, y: { range: (_, low, high) => range(floor, low, high) } },
        axes: [
          { ...axis, size: 20, gap: 2, space: 70, grid: { show: false }, values: "{HH}:{mm}", incrs: [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600] },
          { ...axis, size: 46, space: 32, values: (_, values) => values.map((value) => axisFormat(value)) },
        ],
        series: [
          {},
          ...series.map((line) => ({ stroke: colour(element, line.colour), width: 1.75, fill: series.length === 1 ? `${colour(element, line.colour)}1f` : undefined, points: { show: false }, spanGaps: false })),
        ],
        hooks: { setCursor: [(made) => setIndex(made.cursor.idx ?? null)] },
      },
      data(t, series),
      element,
    );
    plot.current = chart;
    const resizing = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    resizing.observe(element);
    return () => {
      resizing.disconnect();
      chart.destroy();
    };
  }, [shape, height, theme, floor]);
  useEffect(() => plot.current?.setData(data(t, series)), [t, ...series.map((line) => line.values)]);
  const at = index !== null && index < t.length ? index : t.length - 1;
  return (
    <figure class="chart">
      <figcaption>
        {series.map((line) => (
          <span key={line.label} class="key">
            {series.length > 1 && <i class={`dot ${line.colour.slice(2)}`} />}
            {line.label} <b>{t.length ? (line.format || format)(line.values[at] ?? null) : "–"}</b>
          </span>
        ))}
        <span class="note time">{index !== null && index < t.length ? new Date(t[index]).toLocaleTimeString("en", { hour12: false }) : ""}</span>
      </figcaption>
      <div class="plot" ref={box} role="img" aria-label={`${label}, over time`} />
      {t.length < 2 && <p class="empty over">The first points come within seconds.</p>}
    </figure>
  );
}

const data = (t, series) => [t.map((at) => at / 1000), ...series.map((line) => line.values.map((value) => value ?? null))];

function range(floor, low, high) {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  const bottom = floor === null ? low - 0.1 * (high - low || 1) : Math.min(floor, low);
  return [bottom, high <= bottom ? bottom + 1 : high + 0.08 * (high - bottom)];
}

export function Picture({ item }) {
  const [broken, setBroken] = useState(false);
  if (item.image && !broken) return <img class="picture" src={item.image} alt="" loading="lazy" referrerpolicy="no-referrer" onError={() => setBroken(true)} />;
  return (
    <span class="picture" aria-hidden="true">
      {(item.title || item.id).trim().slice(0, 1).toUpperCase()}
    </span>
  );
}

export const Title = ({ item }) => (item.title ? <>{item.title}</> : <code>{item.id}</code>);

const HIDDEN = new Set(["title", "name", "image"]);

export function Tags({ features, most = 3 }) {
  const tags = Object.entries(features || {}).filter(([name, value]) => !HIDDEN.has(name) && value !== null && value !== "");
  return (
    <span class="tags">
      {tags.slice(0, most).map(([name, value]) => (
        <span class="tag" key={name} title={name}>
          {Array.isArray(value) ? value.slice(0, 4).join(", ") : String(value)}
        </span>
      ))}
    </span>
  );
}
