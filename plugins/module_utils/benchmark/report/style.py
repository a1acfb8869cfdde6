"""How the page looks, on light and on dark, on a desk and on a phone."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c1f23;--soft:#5a626c;--rule:#e1e4e8;--band:#f1f3f5;
--blue:#1f6fb5;--orange:#b35400;--violet:#8a3fa0;--green:#2b7a3b;--red:#c22f2f;--teal:#0b7a75;--good-bg:#e9f5ec;
--bad-bg:#fcebea;--note-bg:#fdf5e2}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a2abb5;--rule:#343a41;
--band:#23282e;--blue:#6db3f2;--orange:#f0a35e;--violet:#cf9be0;--green:#7fcf92;--red:#ff8a80;--teal:#64d0c8;
--good-bg:#1b3022;--bad-bg:#3b2020;--note-bg:#352d18}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:44px 0 10px}h3{font-size:1.02rem;margin:28px 0 8px}
p{margin:8px 0;max-width:75ch}.soft{color:var(--soft)}.small{font-size:.875rem}
code{font:.875em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.banner{margin:20px 0;padding:12px 16px;border-left:5px solid;border-radius:4px}
.banner p{margin:4px 0}.banner ul{margin:4px 0;padding-left:20px}
.good{border-color:var(--green);background:var(--good-bg)}.bad{border-color:var(--red);background:var(--bad-bg)}
.note{border-color:var(--orange);background:var(--note-bg)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin:20px 0;padding:0;
list-style:none}
.tiles li{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 16px}
.tiles b{display:block;font-size:1.6rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.875rem;display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 12px 10px;
min-width:0}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:6px}
svg{display:block;width:100%;height:auto;overflow:hidden}
svg text{fill:var(--ink);font-size:12px;font-family:inherit}
svg .tick,svg .name,svg .bandtext{fill:var(--soft)}
.grid{stroke:var(--rule);stroke-width:1}.line{fill:none;stroke:currentColor;stroke-width:2.2;stroke-linejoin:round}
svg g circle{fill:currentColor}
.s1{color:var(--blue)}.s2{color:var(--orange)}.s3{color:var(--violet)}.s4{color:var(--green)}.s5{color:var(--red)}
.s6{color:var(--teal)}
.s2 .line{stroke-dasharray:7 3}.s3 .line{stroke-dasharray:2 3}.s4 .line{stroke-dasharray:9 3 2 3}
.s5 .line{stroke-dasharray:4 2}.s6 .line{stroke-dasharray:12 4}
svg path.knee{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:4 4}
svg path.limit{stroke:var(--red);stroke-width:1.4;stroke-dasharray:2 4}
svg .marktext{font-size:11.5px;paint-order:stroke;stroke:var(--card);stroke-width:4px}svg text.limit{fill:var(--red)}
.band{fill:var(--band)}.dots circle{fill:var(--blue);opacity:.5}
.crosses path{stroke:var(--red);stroke-width:1.8;fill:none}
.area{fill:var(--blue);fill-opacity:.25;stroke:var(--blue);stroke-width:1.3}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 14px;margin:4px 0 0;padding:0;font-size:.85rem}
.legend i{display:inline-block;width:18px;height:0;border-top:3px solid currentColor;margin-right:6px;
vertical-align:middle}
.legend .s2,.legend .s5,.legend .s6{border-top-style:dashed}.legend .s3,.legend .s4{border-top-style:dotted}
.narrow{display:none}.wide,.narrow{margin-bottom:14px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:6px 8px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
.left{text-align:left}
td.text{white-space:normal;text-align:left;min-width:220px;overflow-wrap:anywhere}
tr:last-child>*{border-bottom:0}thead th{color:var(--soft);font-weight:600}
tr.group th{text-align:left;padding-top:12px;font-weight:600}
tbody th{font-weight:400}
dl{display:grid;grid-template-columns:minmax(120px,auto) 1fr;gap:4px 18px;margin:0;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;min-width:0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:24px}
@media (max-width:720px){main{padding:16px 12px 48px}.wide{display:none}.narrow{display:block}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tiles li{padding:10px 12px}.tiles b{font-size:1.25rem}
h1{font-size:1.35rem}th,td{padding:6px 8px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
@media print{body{background:#fff}figure,.tiles li{break-inside:avoid}}
"""
