"""How the page looks: calm surfaces, eight colours that differ in lightness too, words of one size at every width."""

from __future__ import annotations

# Colours of segments: blues for what stays, warm ones for what comes and goes; hatching where nothing is certain.
STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c1f23;--soft:#5a626c;--rule:#e1e4e8;--band:#f1f3f5;
--accent:#1b5f9e;--good:#2b7a3b;--bad:#b3261e;--bad-bg:#fcebea;--warn:#8a5300;--warn-bg:#fdf5e2;
--weights:#17457a;--kv:#3b8fd4;--margin:#a9d2f2;--activation:#c85a11;--graphs:#f2c230;--other:#8f3f86;--reserve:#868e99;
--free:#fff;--edge:#5a626c;--on-weights:#fff;--on-kv:#08233d;--on-free:#5a626c}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a2abb5;--rule:#343a41;
--band:#23282e;--accent:#7dbcf5;--good:#7fcf92;--bad:#ff9c93;--bad-bg:#3b2020;--warn:#f3c56b;--warn-bg:#352d18;
--weights:#3f7fc4;--kv:#8cc7f5;--margin:#31536f;--activation:#f08b45;--graphs:#f7d667;--other:#c985c0;--reserve:#7b838d;
--free:#1c2024;--edge:#a2abb5;--on-weights:#071a2e;--on-kv:#08233d;--on-free:#a2abb5}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:1120px;margin:0 auto;padding:28px 16px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:44px 0 2px;line-height:1.3}
h3{font-size:1.1rem;margin:0;line-height:1.3}
h4{font-size:.95rem;margin:28px 0 8px}
p{margin:0 0 10px}.soft{color:var(--soft);font-size:.92rem}
a{color:var(--accent)}code{font:.92em ui-monospace,"DejaVu Sans Mono",Menlo,monospace}
.card{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:20px;margin:18px 0}
.head{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;justify-content:space-between}
.badge{font-size:.8rem;font-weight:600;border-radius:999px;padding:2px 10px;border:1px solid currentColor;
white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(118px,1fr));gap:8px;list-style:none;
margin:16px 0 0;padding:0}
.tiles li{background:var(--band);border-radius:8px;padding:9px 12px}
.tiles b{display:block;font-size:1.15rem;line-height:1.3}.tiles span{color:var(--soft);font-size:.8rem}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:14px 0 4px;padding:0;font-size:.85rem}
.legend li{display:flex;align-items:center;gap:6px}
.chip{flex:none;width:16px;height:12px;border-radius:3px;border:1px solid var(--edge)}
.bars{margin:14px 0 0}
.barrow{display:grid;grid-template-columns:minmax(56px,auto) 1fr;gap:3px 10px;align-items:center;margin:7px 0}
.barrow>span:first-child{font-size:.85rem;color:var(--soft);max-width:180px}
.barrow>.total{grid-column:2;font-size:.8rem;color:var(--soft);margin-top:-2px}
.bar{display:block;width:100%;height:32px;border-radius:6px;background:var(--free)}
.bar rect{stroke:var(--card);stroke-width:1.5}.bar .frame{fill:none;stroke:var(--edge);stroke-width:1}
.bar text{font-size:12px;pointer-events:none;dominant-baseline:central}
.weights{fill:var(--weights)}.kv{fill:var(--kv)}.margin{fill:var(--margin)}.activation{fill:var(--activation)}
.graphs{fill:var(--graphs)}.other{fill:var(--other)}.reserve{fill:var(--reserve)}.free{fill:var(--free)}
.on-weights{fill:var(--on-weights)}.on-kv{fill:var(--on-kv)}.on-free{fill:var(--on-free)}
.chip.weights{background:var(--weights)}.chip.kv{background:var(--kv)}.chip.activation{background:var(--activation)}
.chip.margin{background:repeating-linear-gradient(45deg,var(--margin) 0 3px,var(--kv) 3px 5px)}
.chip.graphs{background:var(--graphs)}.chip.other{background:var(--other)}.chip.reserve{background:var(--reserve)}
.chip.free{background:var(--free)}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;font-weight:600;padding:0 0 6px}
th,td{text-align:right;padding:6px 8px;border-top:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:.82rem}thead th{overflow-wrap:normal}
th:first-child,td:first-child,.left{text-align:left}
tbody th{color:var(--ink);font-size:.9rem;font-weight:400}
tr.planned{background:var(--band)}tr.planned th{font-weight:600}tr.sum th,tr.sum td.num{font-weight:600}
tr.sum th,tr.sum td{border-top:2px solid var(--soft)}
td.num{white-space:nowrap}td.formula{text-align:left;color:var(--soft);font-size:.85rem;width:52%}
.sign{display:inline-block;width:1.1em;color:var(--soft)}
figure{margin:0}.plot{padding:12px 12px 42px 48px;position:relative}
.chart{display:block;width:100%;height:230px;overflow:visible}
.axis{position:absolute;bottom:0;left:48px;right:12px;text-align:center;font-size:.8rem;color:var(--soft)}
.grid{stroke:var(--rule)}.tick,.note{font-size:12px;fill:var(--soft)}
.mark{font-size:13px;font-weight:600;fill:var(--ink);
paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.note{paint-order:stroke;stroke:var(--card);stroke-width:3px}
.line,.floor{fill:none;vector-effect:non-scaling-stroke;stroke:var(--accent);stroke-width:2.5}
.floor{stroke-width:1.2;stroke-dasharray:4 3}.band{fill:var(--accent);opacity:.16;stroke:none}
.one{stroke:var(--bad);stroke-width:1.5}.cap{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:6 4}
.dot{fill:var(--accent);stroke:var(--card);stroke-width:2}
details{border-top:1px solid var(--rule);padding:8px 0;margin-top:12px}details+details{margin-top:0}
summary{cursor:pointer;font-weight:600;font-size:.92rem}details[open]>summary{margin-bottom:8px}
ul.why{margin:6px 0;padding-left:1.2em}ul.why li{margin:3px 0}
.box{border-left:3px solid var(--warn);background:var(--warn-bg);border-radius:0 8px 8px 0;padding:8px 12px;
margin:12px 0;font-size:.92rem}
.box.bad{border-color:var(--bad);background:var(--bad-bg);color:var(--ink)}.box ul{margin:0;padding-left:1.1em}
.box dl{margin:6px 0 0;display:grid;grid-template-columns:max-content 1fr;gap:2px 10px}.box dt{color:var(--soft)}
.box dd{margin:0}
@media (max-width:640px){.wide{display:none}.card{padding:14px 12px}main{padding:20px 12px 48px}th,td{padding:6px 4px}
.account tr{display:grid;grid-template-columns:1fr auto;border-top:1px solid var(--rule)}.account th,.account td,
.account tr.sum th,.account tr.sum td{border:0}.account tr.sum{border-top:2px solid var(--soft)}
.account thead{display:none}td.formula{grid-column:1/-1;width:auto;padding-top:0}
.plot{padding-left:36px;padding-right:6px}
.axis{left:36px}.barrow{grid-template-columns:1fr}.barrow>.total{grid-column:1}
.barrow>span:first-child{max-width:none}}
@media print{:root{color-scheme:light}body{background:#fff;font-size:11pt}
.card{break-inside:avoid-page;border-color:#999}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}details>*{display:block}}
"""
