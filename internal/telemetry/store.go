package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"lyftr/internal/message"
)

// storeCollector turns a store's status into gauges. It asks once a scrape, so
// that all of them are of one moment.
type storeCollector struct {
	status func() message.StoreStatus
	gauges []storeGauge
}

// storeGauge is one figure of a store's status; value tells if it is known.
type storeGauge struct {
	desc  *prometheus.Desc
	value func(message.StoreStatus) (v float64, known bool)
}

func newStoreCollector(status func() message.StoreStatus) *storeCollector {
	c := &storeCollector{status: status}
	add := func(name, help string, value func(message.StoreStatus) (float64, bool)) {
		c.gauges = append(c.gauges, storeGauge{prometheus.NewDesc(name, help, nil, nil), value})
	}
	add("lyftr_stored_messages", "Messages stored.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.Messages), true })
	add("lyftr_database_size_bytes", "Size of the database on disk, its log included.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.DatabaseBytes), true })
	add("lyftr_database_log_size_bytes", "Size of the database's write-ahead log.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.LogBytes), true })
	add("lyftr_unindexed_messages", "Messages that the index behind searches does not have yet; questions look at them one by one.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.Unindexed), true })
	add("lyftr_queue_depth", "Saves that wait for the writer.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.QueueDepth), true })
	add("lyftr_queue_capacity", "Saves that may wait for the writer; one beyond is refused.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.QueueCapacity), true })
	add("lyftr_disk_free_bytes", "What can still be written to the file system of the database's file.",
		func(st message.StoreStatus) (float64, bool) { return float64(st.DiskFreeBytes), st.DiskKnown })
	return c
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, g := range c.gauges {
		out <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(out chan<- prometheus.Metric) {
	st := c.status()
	for _, g := range c.gauges {
		if v, known := g.value(st); known {
			out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v)
		}
	}
}
