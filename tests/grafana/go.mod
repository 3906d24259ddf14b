// What `packaging/grafana/bowline.json` is held against: Grafana's own schema of dashboards, panels and queries.
module bowline/grafana

go 1.24

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
