package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Histogram is what a histogram of a server has counted.
type Histogram []Bucket

// Bucket counts the observations up to a bound, those of lower buckets included.
type Bucket struct {
	To    float64 // +Inf in the last
	Count float64
}

// ReadHistogram reads a histogram that has no labels at a server's /metrics.
func ReadHistogram(ctx context.Context, server, name string) (h Histogram, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metric %s: %w", name, err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read metric %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metric %s: %s answered %s", name, server, answer.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("read metric %s: %w", name, err)
	}
	all := families[name].GetMetric()
	if len(all) != 1 || all[0].GetHistogram() == nil {
		return nil, fmt.Errorf("read metric %s: %s has no such histogram", name, server)
	}
	for _, b := range all[0].GetHistogram().GetBucket() {
		h = append(h, Bucket{b.GetUpperBound(), float64(b.GetCumulativeCount())})
	}
	return h, nil
}

// Since is what was counted after an earlier reading.
func (h Histogram) Since(before Histogram) Histogram {
	later := make(Histogram, len(h))
	for i, b := range h {
		later[i] = b
		if i < len(before) {
			later[i].Count -= before[i].Count
		}
	}
	return later
}

// Quantile takes observations as spread evenly in a bucket, as Prometheus' function
// histogram_quantile does; what is beyond the last bound has that bound.
func (h Histogram) Quantile(share float64) float64 {
	if len(h) == 0 || h[len(h)-1].Count == 0 {
		return math.NaN()
	}
	rank, from := share*h[len(h)-1].Count, Bucket{}
	for _, b := range h {
		if b.Count >= rank && !math.IsInf(b.To, 1) {
			return from.To + (b.To-from.To)*(rank-from.Count)/(b.Count-from.Count)
		}
		if !math.IsInf(b.To, 1) {
			from = b
		}
	}
	return from.To
}
