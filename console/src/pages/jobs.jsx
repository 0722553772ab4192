import { useState } from "preact/hooks";
import { ago, clock, day, number, plural, seconds, short, span } from "../format.js";
import { Action, Choice, Empty, Loaded, Panel, useDocument } from "../parts.jsx";

// Ticks of the live stream, two seconds each, between two looks.
const TICKS = 2;

const ABOUT = {
  alarms: "carries out what the rule of an alarm says",
  clean: "removes old versions and snapshots",
  flips: "returns to the version before if the new one answers worse",
  rebalance: "has too full nodes split and empty ones merged",
  refresh: "builds a version of the newest snapshot",
  requests: "runs, pauses and resumes jobs on request",
  settle: "places new items, removes expired ones",
  sweep: "moves items to nearer nodes, a few at a time",
  verify: "compares the index with what should be in it",
};

// Runs drawn of each job.
const DRAWN = 40;

export function Jobs({ feed, session }) {
  const tick = Math.floor(feed.tick / TICKS);
  const [asked, setAsked] = useState(0);
  const jobs = useDocument("/v1/console/jobs", tick + asked / 1000);
  const timeline = useDocument("/v1/console/timeline", tick);
  const signals = useDocument("/v1/console/signals", tick);
  return (
    <div class="page">
      <Panel title="Jobs of the scheduler" note="bars are the last runs, oldest first, as high as they took long">
        <Loaded of={jobs}>{(data) => <JobTable jobs={data} session={session} onAsked={() => setAsked(asked + 1)} />}</Loaded>
      </Panel>
      <Timeline of={timeline} />
      <Panel title="Signals" note="what is watched for drift, in the last windows of the stream, the newest at the right">
        <Loaded of={signals}>{(data) => <Signals signals={data} alarms={timeline.data || []} />}</Loaded>
      </Panel>
    </div>
  );
}

function JobTable({ jobs, session, onAsked }) {
  const [open, setOpen] = useState(null);
  const why = "A token with the scope write may do this.";
  const taken = (answer) => (answer.taken ? "The leader has taken it." : "No leader takes it now; the next one will.");
  return (
    <div class="scroll" tabindex={0} role="region" aria-label="Table of jobs">
      <table>
        <thead>
          <tr>
            <th>job</th>
            <th>last run</th>
            <th>runs</th>
            <th class="n">so far</th>
            <th>next</th>
            <th>
              <span class="hidden">actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <>
              <tr key={job.name}>
                <td class="about">
                  <button type="button" class="link" aria-expanded={open === job.name} onClick={() => setOpen(open === job.name ? null : job.name)}>
                    {job.name}
                  </button>
                  <div class="note">{ABOUT[job.name]}</div>
                </td>
                <td class="now">{lastRun(job)}</td>
                <td>
                  <Runs runs={job.history} />
                </td>
                <td class="n">{number(job.runs)}</td>
                <td class="now">{next(job)}</td>
                <td class="now">
                  {job.name !== "requests" && (
                    <span class="action">
                      <Action path={`/v1/console/jobs/${job.name}/run`} text="Run now" disabled={!session.may_act} why={why} done={taken} onDone={onAsked} />
                      {job.paused ? (
                        <Action key="resume" path={`/v1/console/jobs/${job.name}/resume`} text="Resume" disabled={!session.may_act} why={why} done={taken} onDone={onAsked} />
                      ) : (
                        <Action key="pause" path={`/v1/console/jobs/${job.name}/pause`} text="Pause" ask={`Pause ${job.name}?`} disabled={!session.may_act} why={why} done={taken} onDone={onAsked} />
                      )}
                    </span>
                  )}
                </td>
              </tr>
              {open === job.name && (
                <tr key={`${job.name} history`}>
                  <td colspan={6}>
                    <History runs={job.history} />
                  </td>
                </tr>
              )}
            </>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Signals({ signals, alarms }) {
  if (!signals.length) return <Empty>No window of the stream has ended yet: see monitoring.drift.window.</Empty>;
  return (
    <ul class="signals">
      {signals.map(({ name, ends, values }) => {
        const alarm = alarms.find((entry) => entry.event === "alarm" && entry.kind === name);
        return (
          <li key={name}>
            <span>
              <i class={`dot ${alarm ? "bad" : ""}`} /> {named(name)} {alarm && <span class="note">alarm {ago(alarm.at)}</span>}
            </span>
            <Spark values={values} label={`${named(name)}, ${plural(values.length, "window")}`} />
            <b title={`window until ${day(ends[ends.length - 1])}`}>{short(values[values.length - 1])}</b>
          </li>
        );
      })}
    </ul>
  );
}

// Units of a small line; it is scaled to its place.
const SPARK = [100, 20];

function Spark({ values, label }) {
  const low = Math.min(...values);
  const room = Math.max(...values) - low || 1;
  const points = values.map((value, index) => `${(SPARK[0] * (index + 0.5)) / values.length},${SPARK[1] * (0.9 - (0.8 * (value - low)) / room)}`);
  return (
    <svg class="spark" viewBox={`0 0 ${SPARK.join(" ")}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <polyline points={points.join(" ")} />
    </svg>
  );
}

function History({ runs }) {
  if (!runs.length) return <Empty>It has not run yet.</Empty>;
  return (
    <ul class="timeline" aria-label="Last runs">
      {runs.slice(0, 12).map((run) => (
        <li key={run.started}>
          <i class={`dot ${run.outcome === "done" ? "good" : run.outcome === "failed" ? "bad" : "warn"}`} />
          <time class="note">{clock(run.started)}</time>
          <span>
            {run.outcome} after {seconds(run.seconds)}, {run.who} {run.detail && <span class="bad">{run.detail}</span>}
          </span>
        </li>
      ))}
    </ul>
  );
}

function lastRun(job) {
  if (job.overrun_since) return <span class="bad">over its time limit, since {ago(job.overrun_since)}</span>;
  if (job.running) {
    const { since, progress } = job.running;
    return `running since ${ago(since)}${progress ? `: ${number(progress.done)} of ${number(progress.total)} ${progress.what}` : ""}`;
  }
  const last = job.history[0];
  if (!last) return "–";
  return (
    <>
      {last.outcome === "done" ? "done" : <span class="bad">{last.outcome}</span>} {ago(last.started)}, {seconds(last.seconds)}
    </>
  );
}

function next(job) {
  if (job.paused) return <span class="tag">paused</span>;
  if (job.next_at === null) return "–";
  const left = (job.next_at - Date.now()) / 1000;
  if (left > 1) return `in ${span(left)}`;
  return left > -job.every - 5 ? "now" : "late: does a scheduler lead?";
}

function Runs({ runs }) {
  const drawn = runs.slice(0, DRAWN).reverse();
  const longest = Math.max(...drawn.map((run) => run.seconds), 1e-9);
  if (!drawn.length) return null;
  const failed = drawn.filter((run) => run.outcome === "failed").length;
  return (
    <span class="runs" role="img" aria-label={`${drawn.length} runs, ${failed} failed, the longest ${seconds(longest)}`}>
      {drawn.map((run) => (
        <i key={run.started} class={run.outcome === "done" ? "" : run.outcome === "failed" ? "failed" : "other"} style={{ height: `${Math.max(2, (22 * run.seconds) / longest)}px` }} title={`${clock(run.started)}: ${run.outcome}, ${seconds(run.seconds)}`} />
      ))}
    </span>
  );
}

const KINDS = [
  ["all", "All"],
  ["drift", "Drift"],
  ["people", "By people"],
];

const PEOPLE = new Set(["rollback", "hold", "release", "job", "repair", "replay"]);

function Timeline({ of }) {
  const [kind, setKind] = useState("all");
  return (
    <Panel title="What happened" note="alarms, what was done about them, and what people did; newest first" actions={<Choice label="What the timeline shows" options={KINDS} value={kind} onChange={setKind} />}>
      <Loaded of={of}>
        {(entries) => {
          const shown = entries.filter((entry) => kind === "all" || PEOPLE.has(entry.event) === (kind === "people"));
          if (!shown.length) return <Empty>Nothing yet: no detector has raised an alarm, and nobody has stepped in.</Empty>;
          return (
            <ul class="timeline">
              {shown.slice(0, 60).map((entry, index) => (
                <li key={`${entry.at} ${index}`}>
                  <i class={`dot ${mark(entry)}`} />
                  <time class="note" title={day(entry.at)}>
                    {ago(entry.at)}
                  </time>
                  <span>{words(entry)}</span>
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
    </Panel>
  );
}

function mark(entry) {
  if (entry.event === "alarm" || entry.outcome === "failed" || entry.event === "verify") return entry.kind === "quality_recovered" ? "good" : "bad";
  if (entry.outcome === "held" || entry.event === "hold") return "warn";
  return entry.outcome === "done" ? "good" : "";
}

const named = (text) => (text || "").replaceAll("_", " ");

// One entry of the audit trail in words.
function words(entry) {
  const detail = entry.detail || {};
  const version = entry.version ? `, version ${entry.version}` : "";
  switch (entry.event) {
    case "alarm":
      return (
        <>
          <b>Alarm: {named(entry.kind)}.</b> {detail.text || detail.detail || detail.message || ""}
        </>
      );
    case "action":
      if (entry.kind === "rebalance") return `The trainer is asked to split ${plural(detail.split.length, "node")} and to merge ${number(detail.merge.length)} away`;
      return entry.action === "none" ? `Nothing is to be done about ${named(entry.kind)}` : `${named(entry.action)} because of ${named(entry.kind)}`;
    case "outcome":
      if (entry.kind === "rebalance" && entry.outcome === "done") return `Nodes rebalanced${version}: ${plural(detail.moved, "item")} moved, the fullest from ${number(detail.before, 1)} to ${number(detail.after, 1)} times the mean`;
      return `${named(entry.action || entry.kind)}: ${named(entry.outcome)}${version}${detail.error ? ` (${detail.error})` : ""}`;
    case "rollback":
      return `Rolled back to version ${entry.version}`;
    case "hold":
      return `Publishing held by ${detail.by}: ${detail.reason}`;
    case "release":
      return `Publishing released by ${detail.by}`;
    case "job":
      return `${detail.by} asked to ${entry.action} the job ${detail.job}`;
    case "replay":
      return `${number(detail.letters)} dead letters of ${detail.topic} (${named(detail.reason)}) sent again`;
    case "verify":
      return `The index is damaged${version}: ${Object.entries(detail.counts || {}).filter(([, count]) => count).map(([name, count]) => `${number(count)} ${name}`).join(", ")}`;
    case "repair":
      return `The index was repaired${version}`;
    default:
      return `${named(entry.event)} ${named(entry.kind)} ${named(entry.outcome)}`;
  }
}
