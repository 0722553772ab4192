import { useMemo, useState } from "preact/hooks";
import { clock, millis, number, percent, plural, seconds, short } from "../format.js";
import { Chart, Choice, Empty, Panel, Problem, useDocument } from "../parts.jsx";

const SPANS = [
  ["900", "15 min"],
  ["3600", "1 h"],
  ["21600", "6 h"],
  ["86400", "24 h"],
];

// Ticks of the live stream, two seconds each, between two fetches of the history, which gets a row every ten seconds.
const HISTORY_TICKS = 5;

const METHODS = { served: ["--accent", "recommendations"], popularity: ["--second", "popularity"], covisitation: ["--third", "co-visitation"] };
const OTHERS = ["--fourth"];

const wholePercent = (value) => `${Math.round(100 * value)} %`;

const HELD = { trainer: "nothing is learned", scheduler: "no item enters the index", server: "" };

export function Now({ feed, theme }) {
  const [span, setSpan] = useState("900");
  const history = useDocument(`/v1/console/history?seconds=${span}`, Math.floor(feed.tick / HISTORY_TICKS));
  const series = useMemo(() => joined(history.data, feed.points), [history.data, feed.points]);
  const now = feed.now;
  if (!now) return <Panel title="Now">{feed.problem ? <Problem error={{ message: feed.problem }} /> : <Empty>Connecting …</Empty>}</Panel>;
  const chart = (label, lines, options = {}) => (
    <Chart t={series.t} theme={theme} label={label} series={lines.map(([name, text, colour]) => ({ label: text, colour, values: series[name] || [] }))} {...options} />
  );
  const { stream, quality, requests, index } = now;
  return (
    <div class="page">
      <div class="bar">
        <Processes now={now} />
        <Choice label="Time that the charts show" options={SPANS} value={span} onChange={setSpan} />
      </div>
      {feed.problem && <Problem error={{ message: `${feed.problem} The figures are those of ${clock(now.at)}.` }} />}
      <Attention notices={now.attention} />
      <div class="grid">
        <Panel title="Learning" note={`${number(stream.trained)} events learned`}>
          <Big value={`${short(stream.events_per_second)}`} unit="events per second" />
          {chart("Events learned per second", [["events_per_second", "events/s", "--accent"]])}
        </Panel>
        <Panel title="Recall at 20" note={recallNote(quality)}>
          <Recall quality={quality} />
          <Chart t={series.t} theme={theme} label="Recall of the live test queries" format={percent} axis={wholePercent} series={methods(series.recall)} />
        </Panel>
        <Panel title="Requests" note={requests.errors_per_second ? `${short(requests.errors_per_second)} per second fail` : "none fails"}>
          <Big value={short(requests.requests_per_second)} unit="per second" />
          {chart("Requests per second", [["requests_per_second", "requests/s", "--accent"], ["errors_per_second", "failed/s", "--bad"]])}
        </Panel>
        <Panel title="Latency" note="of retrieval calls, last half minute">
          <Big value={millis(requests.p50_ms)} unit={`median, ${millis(requests.p99_ms)} for the slowest 1 %`} />
          {chart("Duration of requests", [["p50_ms", "median", "--accent"], ["p99_ms", "99 %", "--second"]], { format: millis })}
        </Panel>
        <Panel title="Freshness" note="from an item's first event until it can be recommended">
          <Big value={seconds(last(series.freshness_p50))} unit={`median, ${seconds(last(series.freshness_p99))} for the slowest 1 %`} />
          {chart("Freshness", [["freshness_p50", "median", "--accent"], ["freshness_p99", "99 %", "--second"]], { format: seconds })}
        </Panel>
        <Panel title="Lag" note="records of the log that are not learned yet">
          <Big value={number(stream.lag_records)} unit={`records, the oldest ${seconds(stream.lag_seconds)} old`} />
          {chart("Records not learned yet", [["lag_records", "records", "--accent"]])}
        </Panel>
        <Panel title="Catalogue" note={index.version ? `version ${index.version} of the index` : "no version yet"}>
          <Big value={number(index.items)} unit="items can be recommended" />
          {chart("Items that arrived and left", [["arrived", "arrived/s", "--accent"], ["left", "left/s", "--second"]])}
        </Panel>
        <Panel title="Not learned" note="since the trainer's first event">
          <NotLearned stream={stream} />
          {chart("Events not learned per second", [["dropped", "dropped/s", "--second"], ["dead_lettered", "dead letters/s", "--bad"]], { height: 84 })}
        </Panel>
      </div>
    </div>
  );
}

function Big({ value, unit }) {
  return (
    <p class="big">
      <b>{value}</b> <span>{unit}</span>
    </p>
  );
}

function Processes({ now }) {
  return (
    <ul class="processes" aria-label="Processes">
      {Object.entries(now.processes).map(([role, process]) => (
        <li key={role} title={process || ""}>
          <i class={`dot ${process ? (role === "server" && !now.ready ? "warn" : "good") : "bad"}`} /> {role}
          {!process && <span class="note"> is not running: {HELD[role]}</span>}
          {role === "server" && process && !now.ready && <span class="note"> is not ready</span>}
        </li>
      ))}
    </ul>
  );
}

function Attention({ notices }) {
  return (
    <Panel wide label="What needs attention">
      {notices.length === 0 ? (
        <p class="well">
          <i class="dot good" /> Nothing needs attention.
        </p>
      ) : (
        <ul class="notices">
          {notices.map((notice) => (
            <li key={notice.text}>
              <i class={`dot ${notice.severity}`} />
              <span>
                <b>{notice.text}</b> {notice.todo} <a href={`#/help/${notice.section}`}>What to do</a>
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function recallNote(quality) {
  if (!quality.measured) return "no live test query yet: see trainer.prequential_share";
  return `of what people chose next, ${plural(Math.min(quality.measured, 2000), "last query", "last queries")}`;
}

function Recall({ quality }) {
  const { served, ...baselines } = quality.recent;
  if (served === undefined) return <Big value="–" unit="" />;
  const names = Object.entries(baselines).map(([name, value]) => `${METHODS[name]?.[1] || name} ${percent(value)}`);
  return <Big value={percent(served)} unit={names.join(", ")} />;
}

function methods(recall) {
  const names = Object.keys(recall).sort((one, other) => (other === "served") - (one === "served"));
  let unnamed = 0;
  const lines = names.map((name) => {
    const [colour, label] = METHODS[name] || [OTHERS[unnamed++ % OTHERS.length], name];
    return { label, colour, values: recall[name] };
  });
  return lines.length ? lines : [{ label: "recommendations", colour: "--accent", values: [] }];
}

function NotLearned({ stream }) {
  const reasons = Object.entries(stream.dropped).filter(([, count]) => count);
  const letters = stream.dead_lettered || 0;
  if (!reasons.length && !letters) return <Empty>Every event that was read was learned.</Empty>;
  return (
    <dl class="pairs">
      {letters > 0 && (
        <div>
          <dt>
            <a href="#/stream">dead letters</a>
          </dt>
          <dd>{number(letters)}</dd>
        </div>
      )}
      {reasons.map(([reason, count]) => (
        <div key={reason}>
          <dt>{reason.replaceAll("_", " ")}</dt>
          <dd>{number(count)}</dd>
        </div>
      ))}
    </dl>
  );
}

function last(values = []) {
  for (let index = values.length - 1; index >= 0; index--) if (values[index] !== null && values[index] !== undefined) return values[index];
  return null;
}

// The server's history, and after its last row the live points of this page.
function joined(history, points) {
  const past = history || { t: [], recall: {} };
  const end = past.t.length ? past.t[past.t.length - 1] : 0;
  const newer = points.filter((point) => point.at > end);
  const live = (name, read) => [...(past[name] || past.t.map(() => null)), ...newer.map(read)];
  const names = new Set([...Object.keys(past.recall), ...newer.flatMap((point) => Object.keys(point.quality.recent))]);
  return {
    t: [...past.t, ...newer.map((point) => point.at)],
    events_per_second: live("events_per_second", (point) => point.stream.events_per_second),
    lag_records: live("lag_records", (point) => point.stream.lag_records),
    requests_per_second: live("requests_per_second", (point) => point.requests.requests_per_second),
    errors_per_second: live("errors_per_second", (point) => point.requests.errors_per_second),
    p50_ms: live("p50_ms", (point) => point.requests.p50_ms),
    p99_ms: live("p99_ms", (point) => point.requests.p99_ms),
    freshness_p50: live("freshness_p50", (point) => point.requests.freshness_p50),
    freshness_p99: live("freshness_p99", (point) => point.requests.freshness_p99),
    arrived: live("arrived", (point) => point.requests.arrived),
    left: live("left", (point) => point.requests.left),
    dropped: live("dropped", () => null),
    dead_lettered: live("dead_lettered", () => null),
    recall: Object.fromEntries(
      [...names].map((name) => [name, [...(past.recall[name] || past.t.map(() => null)), ...newer.map((point) => point.quality.recent[name] ?? null)]]),
    ),
  };
}
