import { useState } from "preact/hooks";
import { ago, number, plural } from "../format.js";
import { Action, Empty, Loaded, Panel, useDocument } from "../parts.jsx";
import { Item } from "./try.jsx";

// Ticks of the live stream, two seconds each, between two looks at items and at dead letters.
const ITEM_TICKS = 2;
const LETTER_TICKS = 10;

// Items listed on each side.
const SHOWN = 14;

const REASONS = { new: "new", returned: "came back", expired: "expired", deleted: "deleted" };

export function Stream({ feed, session }) {
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
