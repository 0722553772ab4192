import { useEffect, useMemo, useState } from "preact/hooks";
import { ago, day, number, percent, plural, span } from "../format.js";
import { Action, Choice, Empty, Loaded, Panel, Picture, Tags, Title, useDocument } from "../parts.jsx";
import { hierarchyMap } from "../treemap.js";
import { Item } from "./try.jsx";

// Units of the picture; it is scaled to the width of its panel.
const WIDTH = 900;
const HEIGHT = 520;

// Ticks of the live stream, two seconds each, between two looks at the nodes.
const TICKS = 5;

const COLOURS = [
  ["traffic", "Traffic"],
  ["age", "Age"],
  ["change", "Change"],
];

export function Index({ feed, rest, session }) {
  const tick = Math.floor(feed.tick / TICKS);
  const nodes = useDocument("/v1/console/index", tick);
  const [acted, setActed] = useState(0);
  const versions = useDocument("/v1/console/versions", tick + acted / 1000);
  const [colour, setColour] = useState("traffic");
  const [node, setNode] = useState(rest ? Number(rest) : null);
  const [open, setOpen] = useState(null);
  const pair = colour === "change" && neighbours(versions.data);
  const change = useDocument(pair ? `/v1/console/diff?before=${pair[0]}&after=${pair[1]}` : null).data;
  useEffect(() => rest && setNode(Number(rest)), [rest]);
  return (
    <div class="page">
      <div class="columns picture-side">
        <Panel title="Nodes" note="each rectangle is a node, as large as it has items" actions={<Choice label="Colour by" options={COLOURS} value={colour} onChange={setColour} />}>
          <Loaded of={nodes}>{(data) => <Nodes data={data} colour={colour} change={change} chosen={node} onChoose={setNode} />}</Loaded>
        </Panel>
        <Node node={node} nodes={nodes.data} change={change} tick={tick} onOpen={setOpen} onChoose={setNode} />
      </div>
      <Loaded of={versions}>{(data) => <Versions data={data} session={session} onActed={() => setActed(acted + 1)} />}</Loaded>
      {open && <Item id={open} onClose={() => setOpen(null)} />}
    </div>
  );
}

// The version in use and the one before it; null if there is none before.
function neighbours(versions) {
  const kept = versions ? versions.versions.map((version) => version.version) : [];
  const before = kept[kept.indexOf(versions?.current) + 1];
  return before === undefined ? null : [before, versions.current];
}

const SHADED = {
  traffic: (data, node) => data.traffic[node] / data.size[node],
  age: (data, node) => data.age[node],
  change: (data, node, change) => (change ? (change.by_node.came[node] + change.by_node.went[node]) / data.size[node] : 0),
};

const ENDS = { traffic: ["little traffic per item", "much"], age: ["young", "old"], change: ["few items came or went", "many"] };

// The share of the colour, 0 to 1, of each node: by rank, so that one busy node does not make all others pale. Equals
// have one colour.
function shades(data, colour, change) {
  const values = data.size.map((size, node) => (size ? SHADED[colour](data, node, change) : null));
  const order = values.map((_, node) => node).filter((node) => values[node] !== null).sort((one, other) => values[one] - values[other]);
  const shade = values.map(() => 0);
  order.forEach((node, rank) => {
    const equal = rank > 0 && values[node] === values[order[rank - 1]];
    shade[node] = equal ? shade[order[rank - 1]] : rank / Math.max(order.length - 1, 1);
  });
  return shade;
}

// What became of a node between two versions, in words.
function changed(change, node) {
  if (!change) return "";
  const { came, went } = change.by_node;
  return `; ${number(came[node])} came and ${number(went[node])} went since version ${change.before}`;
}

function Nodes({ data, colour, change, chosen, onChoose }) {
  const rects = useMemo(() => hierarchyMap(data.levels, data.size, WIDTH, HEIGHT), [data]);
  const shade = useMemo(() => shades(data, colour, change), [data, colour, change]);
  const items = data.size.reduce((sum, size) => sum + size, 0);
  if (!items) return <Empty>No item is in the index yet.</Empty>;
  const { balance } = data;
  return (
    <>
      <svg class="treemap" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${number(items)} items in ${number(balance.nodes)} nodes, coloured by ${colour}; the largest are listed beside it`}>
        {rects.map(
          (rect, node) =>
            rect && (
              <g key={node}>
                <rect
                  x={rect[0]}
                  y={rect[1]}
                  width={Math.max(rect[2], 0)}
                  height={Math.max(rect[3], 0)}
                  class={node === chosen ? "chosen" : ""}
                  style={{ fill: `color-mix(in oklab, var(--accent) ${Math.round(8 + 72 * shade[node])}%, var(--raised))` }}
                  onClick={() => onChoose(node)}
                >
                  <title>{`node ${node}: ${plural(data.size[node], "item")}, ${percent(data.traffic[node])} of the traffic, half of them older than ${span(3600 * (data.age[node] || 0))}${changed(change, node)}; ${data.label[node]}`}</title>
                </rect>
                {rect[2] > 66 && rect[3] > 18 && (
                  <text x={rect[0] + 6} y={rect[1] + 15} class={shade[node] > 0.6 ? "on" : ""}>
                    {clipped(data.label[node], rect[2] - 10)}
                  </text>
                )}
              </g>
            ),
        )}
      </svg>
      <div class="bar">
        <span class="scale">
          {ENDS[colour][0]} <i /> {ENDS[colour][1]}
        </span>
        <span class="note">
          {data.levels.map((count) => number(count)).join(" × ")} nodes; the fullest has {number(balance.max_over_mean, 1)} times the mean, {number(balance.dead)} have no item
        </span>
      </div>
    </>
  );
}

// Units of one letter of a label, on average.
const LETTER = 7;

const clipped = (text, width) => (text.length * LETTER <= width ? text : `${text.slice(0, Math.max(Math.floor(width / LETTER) - 1, 1))}…`);

function Node({ node, nodes, change, tick, onOpen, onChoose }) {
  const found = useDocument(node === null ? null : `/v1/console/nodes/${node}`, tick);
  if (node === null) return <Largest nodes={nodes} onChoose={onChoose} />;
  return (
    <Panel
      title={`Node ${node}`}
      note={found.data && `${plural(found.data.size, "item")}, those with the most traffic first${changed(change, node)}`}
      actions={
        <button type="button" onClick={() => onChoose(null)}>
          All nodes
        </button>
      }
    >
      <Loaded of={found}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty>No item is in this node.</Empty>
          ) : (
            <ul class="items list" tabindex={0} aria-label={`Items of node ${node}`}>
              {data.items.map((item) => (
                <li key={item.id}>
                  <button type="button" class="item" onClick={() => onOpen(item.id)}>
                    <Picture item={item} />
                    <span>
                      <span class="name">
                        <Title item={item} />
                      </span>
                      <Tags features={item.features} />
                    </span>
                    <span class="score" title={day(item.first)}>
                      {span((data.watermark - item.first) / 1000)} old
                    </span>
                  </button>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}

// Nodes listed beside the picture: the keyboard's way to them.
const LISTED = 12;

function Largest({ nodes, onChoose }) {
  const order = nodes ? nodes.size.map((_, node) => node).sort((one, other) => nodes.size[other] - nodes.size[one]).slice(0, LISTED) : [];
  return (
    <Panel title="Largest nodes" note="choose one here or in the picture">
      {!nodes ? (
        <Empty>There is no version of the index yet.</Empty>
      ) : (
        <table>
          <thead>
            <tr>
              <th>node, its item with the most traffic</th>
              <th class="n">items</th>
              <th class="n">traffic</th>
            </tr>
          </thead>
          <tbody>
            {order.map((node) => (
              <tr key={node}>
                <td>
                  <button type="button" class="link" onClick={() => onChoose(node)}>
                    {node} {nodes.label[node]}
                  </button>
                </td>
                <td class="n">{number(nodes.size[node])}</td>
                <td class="n">{percent(nodes.traffic[node])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function Versions({ data, session, onActed }) {
  const [compared, setCompared] = useState(null);
  const why = "A token with the scope write may do this.";
  const hold = data.hold ? (
    <Action key="release" path="/v1/console/release" text="Release publishing" disabled={!session.may_act} why={why} done={() => "Publishing goes on."} onDone={onActed} />
  ) : (
    <Action key="hold" path="/v1/console/hold" body={{ reason: "held in the console" }} text="Hold publishing" ask="Publish no new version until it is released?" disabled={!session.may_act} why={why} done={() => "Publishing is held."} onDone={onActed} />
  );
  return (
    <Panel title="Versions" note={data.hold ? `publishing is held since ${ago(data.hold.at)}: ${data.hold.reason}` : "the newest first; the one in use is marked"} actions={hold}>
      {data.cut_off && <p class="problem">The trainer was restarted since the hold: new and expired items do not reach the version in use.</p>}
      {data.versions.length === 0 ? (
        <Empty>No version was published yet; the first comes with the first training steps.</Empty>
      ) : (
        <div class="scroll" tabindex={0} role="region" aria-label="Table of versions">
          <table>
            <thead>
              <tr>
                <th>version</th>
                <th>made</th>
                <th>because of</th>
                <th class="n">items</th>
                <th class="n">moved</th>
                <th class="n">events learned</th>
                <th>
                  <span class="hidden">actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.versions.map((version, index) => {
                const before = data.versions[index + 1];
                const current = version.version === data.current;
                return (
                  <tr key={version.version}>
                    <td class="now">
                      {version.version} {current && <span class="tag">in use</span>}
                    </td>
                    <td>{ago(version.created_at)}</td>
                    <td>{version.reason}</td>
                    <td class="n">{number(version.items)}</td>
                    <td class="n">{version.common ? percent(version.moved / version.common) : "–"}</td>
                    <td class="n">{number(version.events)}</td>
                    <td class="n">
                      <span class="action">
                        {before && (
                          <button type="button" onClick={() => setCompared([before.version, version.version])}>
                            Compare with {before.version}
                          </button>
                        )}
                        {!current && (
                          <Action
                            path="/v1/console/rollback"
                            body={{ version: version.version, hold: true }}
                            text="Roll back"
                            ask={`Answer from version ${version.version}, and hold publishing?`}
                            disabled={!session.may_act}
                            why={why}
                            done={() => "Done; publishing is held."}
                            onDone={onActed}
                          />
                        )}
                      </span>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {compared && <Difference key={compared.join()} before={compared[0]} after={compared[1]} onClose={() => setCompared(null)} />}
    </Panel>
  );
}

function Difference({ before, after, onClose }) {
  const found = useDocument(`/v1/console/diff?before=${before}&after=${after}`);
  return (
    <section aria-label="Difference" class="fields">
      <div class="bar">
        <h3>
          From version {before} to {after}
        </h3>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
      <Loaded of={found}>
        {(data) => (
          <>
            <p>
              {plural(data.came, "item")} came{names(data.some_came)}, {number(data.left)} left{names(data.some_left)}, and {number(data.moved)} of {number(data.common)} are in another node.
            </p>
            {data.nodes.length > 0 && (
              <p class="note">
                Most changed: {data.nodes.slice(0, 6).map((change) => `node ${change.node} (${change.before} → ${change.after}, ${change.came} in, ${change.went} out)`).join("; ")}.
              </p>
            )}
          </>
        )}
      </Loaded>
    </section>
  );
}

const names = (some) => (some.length ? ` (${some.slice(0, 5).join(", ")}${some.length > 5 ? ", …" : ""})` : "");
