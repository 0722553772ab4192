import { useState } from "preact/hooks";
import { ago, bytes, number, percent, plural, span } from "../format.js";
import { Action, Chart, Empty, Loaded, Panel, useDocument } from "../parts.jsx";
import { Item } from "./try.jsx";

// Ticks of the live stream, two seconds each, between two looks at items, at what is remembered, and at dead letters.
const ITEM_TICKS = 2;
const WINDOW_TICKS = 5;
const LETTER_TICKS = 10;

// Seconds that the charts show.
const CHARTED = 3600;

// Items listed on each side.
const SHOWN = 14;

const REASONS = { new: "new", returned: "came back", expired: "expired", deleted: "deleted" };

export function Stream({ feed, session, theme }) {
  const windows = useDocument("/v1/console/windows", Math.floor(feed.tick / WINDOW_TICKS));
  const history = useDocument(`/v1/console/history?seconds=${CHARTED}`, Math.floor(feed.tick / WINDOW_TICKS));
  const changes = useDocument("/v1/console/changes", Math.floor(feed.tick / ITEM_TICKS));
  const [sent, setSent] = useState(0);
  const letters = useDocument("/v1/console/dead_letters", Math.floor(feed.tick / LETTER_TICKS) + sent / 2);
  const [open, setOpen] = useState(null);
  return (
    <div class="page">
      <div class="columns">
        <Changes title="Items that arrived" empty="No item has arrived since the oldest version that is kept." changes={changes} arrived onOpen={setOpen} />
        <Changes title="Items that left" empty="No item has left since the oldest version that is kept." changes={changes} arrived={false} onOpen={setOpen} />
      </div>
      <div class="columns">
        <Panel title="Joiner" note="impressions that wait for what people do with the items shown">
          <Loaded of={windows}>{(data) => <Joiner joiner={data.joiner} notJoined={data.not_joined} history={history.data} theme={theme} />}</Loaded>
        </Panel>
        <Panel title="Deduplication" note="events that were sent before count once">
          <Loaded of={windows}>{(data) => <Deduplication dedup={data.dedup} trained={feed.now?.stream.trained} history={history.data} theme={theme} />}</Loaded>
        </Panel>
      </div>
      <Panel title="Dead letters" note="events that could not be read or believed, kept whole beside their topic">
        <Loaded of={letters}>{(data) => <Letters data={data} session={session} onSent={() => setSent(sent + 1)} />}</Loaded>
      </Panel>
      {open && <Item id={open} onClose={() => setOpen(null)} />}
    </div>
  );
}

function Changes({ title, empty, changes, arrived, onOpen }) {
  return (
    <Panel title={title} note="newest first">
      <Loaded of={changes}>
        {(data) => {
          const listed = data.filter((change) => change.arrived === arrived).slice(0, SHOWN);
          if (!listed.length) return <Empty>{empty}</Empty>;
          return (
            <table>
              <thead>
                <tr>
                  <th>item</th>
                  <th>why</th>
                  {arrived && <th class="n">node</th>}
                  <th class="n">when</th>
                </tr>
              </thead>
              <tbody>
                {listed.map((change) => (
                  <tr key={`${change.item} ${change.at}`}>
                    <td>
                      <button type="button" class="link" onClick={() => onOpen(change.item)}>
                        {change.title || change.item}
                      </button>
                    </td>
                    <td>{REASONS[change.reason]}</td>
                    {arrived && (
                      <td class="n">
                        <a href={`#/index/${change.node}`}>{change.node}</a>
                      </td>
                    )}
                    <td class="n">{ago(change.at)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          );
        }}
      </Loaded>
    </Panel>
  );
}

const line = (history, name, label, colour) => ({ label, colour, values: history?.[name] || [] });

function Figures({ rows }) {
  return (
    <dl class="pairs">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Joiner({ joiner, notJoined, history, theme }) {
  if (!joiner)
    return (
      <Empty>
        No action is a label: impressions make items known, and teach nothing ({number(notJoined)} so far). See streaming.tasks.
      </Empty>
    );
  const { shown_items: items, waiting_actions: actions, capacity, labelled, labelled_early: early } = joiner;
  return (
    <>
      <Figures
        rows={[
          ["impressions that wait", `${number(joiner.pending)}, for up to ${span(joiner.window)} of stream time`],
          ["items shown in them", `${number(items)} of at most ${number(capacity)}`],
          ["actions that wait for their impression", number(actions)],
          ["impressions learned", number(joiner.impressions)],
          ["items labelled since the trainer's start", number(labelled)],
          ["of these before their time, since it was full", `${number(early)}${labelled ? ` (${percent(early / labelled)})` : ""}`],
          ["actions that came too late", number(joiner.late_actions)],
          ["labels", joiner.tasks.join(", ")],
        ]}
      />
      <Chart t={history?.t || []} theme={theme} label="Impressions that wait" series={[line(history, "pending", "wait", "--accent")]} />
      <Chart t={history?.t || []} theme={theme} label="Items labelled and actions too late per second" series={[line(history, "labelled", "labelled/s", "--accent"), line(history, "late_actions", "too late/s", "--second")]} />
    </>
  );
}

function Deduplication({ dedup, trained, history, theme }) {
  if (!dedup) return <Empty>Switched off: an event that is sent twice counts twice. See streaming.dedup_window.</Empty>;
  const full = dedup.keys >= dedup.most / 2; // interactions and impressions have a half each
  return (
    <>
      <Figures
        rows={[
          ["looked back", `${span(dedup.window)} of stream time`],
          ["events remembered", `${number(dedup.keys)} of at most ${number(dedup.most)}`],
          ["memory", bytes(dedup.bytes)],
          ["duplicates dropped", `${number(dedup.duplicates)}${trained ? ` (${percent(dedup.duplicates / (trained + dedup.duplicates))})` : ""}`],
        ]}
      />
      {full && <p class="note">So many are remembered of a kind at most: where that is full, the oldest are forgotten before the window ends.</p>}
      <Chart t={history?.t || []} theme={theme} label="Duplicates per second" series={[line(history, "duplicates", "duplicates/s", "--second")]} />
    </>
  );
}

function Letters({ data, session, onSent }) {
  if (!data.counts.length) return <Empty>None: every event could be read.</Empty>;
  return (
    <>
      {data.more && <p class="note">There are more; these are counted among the oldest 20,000. All: hsnn dlq list.</p>}
      <div class="fields">
        {data.counts.map((count) => (
          <details key={`${count.topic} ${count.reason}`}>
            <summary>
              <b>{number(count.letters)}</b> of {count.topic} as <b>{count.reason.replaceAll("_", " ")}</b>
              <span class="note">
                {" "}
                · last {ago(count.last)}
                {count.replayed > 0 && ` · ${number(count.replayed)} sent again`}
              </span>
            </summary>
            <div class="fields inner">
              {count.samples.map((sample) => (
                <div key={`${sample.partition} ${sample.offset} ${sample.index}`}>
                  <p class="note">
                    partition {sample.partition}, offset {number(sample.offset)}, {ago(sample.at)}
                    {sample.replayed && ", sent again"}: {sample.detail}
                  </p>
                  <pre tabindex={0}>{sample.value}</pre>
                </div>
              ))}
              <Action
                path="/v1/console/replay"
                body={{ topic: count.topic, reason: count.reason }}
                text={`Send ${plural(count.letters - count.replayed, "letter")} again`}
                ask="Has the cause gone? What fails again becomes a new dead letter."
                disabled={!session.may_act || count.letters === count.replayed}
                why={session.may_act ? "All of them were sent again." : "A token with the scope write may do this."}
                done={(answer) => `${plural(answer.replayed, "letter")} sent again.`}
                onDone={onSent}
              />
            </div>
          </details>
        ))}
      </div>
    </>
  );
}
