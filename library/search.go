package library

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kljensen/snowball/english"
)

// Hit is a template that a search found. Scores compare within one search only.
type Hit struct {
	ID    string
	Score float64
}

// The constants of BM25, at their usual values, and how often a word of each
// field counts.
const (
	saturation   = 1.2
	lengthWeight = 0.75

	titleWeight   = 3
	summaryWeight = 2
)

// index is what Search looks into: documents as counted stems.
type index struct {
	ids     []string
	counts  []map[string]int
	lengths []float64
	mean    float64
	inDocs  map[string]int
}

// Search ranks the templates that share a word with the query by BM25 over the
// stems of title, summary, description and tags, and returns at most so many.
// It does not look at intents: they test it.
func (l *Library) Search(query string, limit int) []Hit {
	x := l.read().search
	var hits []Hit
	for i, id := range x.ids {
		score := 0.0
		for stem := range stems(query) {
			f, n := float64(x.counts[i][stem]), float64(x.inDocs[stem])
			idf := math.Log(1 + (float64(len(x.ids))-n+0.5)/(n+0.5))
			score += idf * f * (saturation + 1) / (f + saturation*(1-lengthWeight+lengthWeight*x.lengths[i]/x.mean))
		}
		if score > 0 {
			hits = append(hits, Hit{ID: id, Score: score})
		}
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ID, b.ID))
	})
	return hits[:min(max(limit, 0), len(hits))]
}

// newIndex counts the words of all templates that are published.
func newIndex(templates map[string]*Template) *index {
	x := &index{inDocs: map[string]int{}}
	for _, id := range slices.Sorted(maps.Keys(templates)) {
		t := templates[id]
		if t.Status != "published" {
			continue
		}
		counts, length := map[string]int{}, 0
		for _, field := range []struct {
			text   string
			weight int
		}{{t.Title, titleWeight}, {t.Summary, summaryWeight}, {t.Description, 1}, {strings.Join(t.Tags, " "), 1}} {
			for stem, n := range stems(field.text) {
				counts[stem] += n * field.weight
				length += n * field.weight
			}
		}
		for stem := range counts {
			x.inDocs[stem]++
		}
		x.ids, x.counts, x.lengths = append(x.ids, id), append(x.counts, counts), append(x.lengths, float64(length))
		x.mean += float64(length)
	}
	x.mean /= float64(max(1, len(x.ids)))
	return x
}

// stems counts the stems of a text's words; words that say nothing are left
// out.
func stems(s string) map[string]int {
	counts := map[string]int{}
	for _, w := range word.FindAllString(strings.ToLower(s), -1) {
		if !english.IsStopWord(w) {
			counts[english.Stem(w, false)]++
		}
	}
	return counts
}
