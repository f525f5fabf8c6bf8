package liblint

import (
	"math"
	"strings"
	"unicode"

	"github.com/hishamos/hishamos/library"
)

// The limits of likeness between two templates, and between two agents.
const (
	maxShingles    = 0.20 // Jaccard of 5-word shingles
	maxCosine      = 0.50 // TF-IDF cosine
	namedCosine    = 0.40 // above this, distinct_from must name the other
	maxAgentCosine = 0.45
)

type text struct {
	item  string
	named map[string]bool
	words []string
}

// checkSimilarity: no two templates and no two agents say the same.
func (c *checker) checkSimilarity() {
	var templates, agents []text
	for _, id := range c.lib.TemplateIDs() {
		t, _ := c.lib.Template(id)
		named := map[string]bool{}
		for _, n := range t.DistinctFrom {
			named["template:"+n.ID] = true
		}
		templates = append(templates, text{"template:" + id, named, split(ownWords(t))})
	}
	for _, id := range c.lib.AgentIDs() {
		a, _ := c.lib.Agent(id)
		var b strings.Builder
		for _, part := range a.Prompt.Parts() {
			b.WriteString(part[1] + "\n")
		}
		agents = append(agents, text{"agent:" + id, nil, split(b.String())})
	}
	c.compare(templates, func(a, b text, j5, cos float64) {
		switch {
		case j5 > maxShingles:
			c.add("similarity/shingles", "%.2f like %s", j5, b.item)
		case cos > maxCosine:
			c.add("similarity/cosine", "%.2f like %s", cos, b.item)
		case cos > namedCosine && !a.named[b.item] && !b.named[a.item]:
			c.add("similarity/named", "%.2f like %s, which distinct_from does not name", cos, b.item)
		}
	})
	c.compare(agents, func(_, b text, _, cos float64) {
		if cos > maxAgentCosine {
			c.add("similarity/cosine", "%.2f like %s", cos, b.item)
		}
	})
}

func ownWords(t *library.Template) string {
	return action.ReplaceAllString(t.Prompt.Task, " ") + "\n" + strings.Join(t.Prompt.Method, "\n")
}

func (c *checker) compare(list []text, judge func(a, b text, j5, cos float64)) {
	inDocs := map[string]int{}
	for _, t := range list {
		seen := map[string]bool{}
		for _, w := range t.words {
			if !seen[w] {
				seen[w] = true
				inDocs[w]++
			}
		}
	}
	vectors := make([]map[string]float64, len(list))
	sequences := make([]map[string]bool, len(list))
	for i, t := range list {
		v := map[string]float64{}
		for _, w := range t.words {
			v[w]++
		}
		for w := range v {
			v[w] *= math.Log(float64(1+len(list))/float64(1+inDocs[w])) + 1
		}
		vectors[i], sequences[i] = v, shingles(t.words)
	}
	for i := range list {
		for j := range i {
			c.item = list[i].item
			judge(list[i], list[j], jaccard(sequences[i], sequences[j]), cosine(vectors[i], vectors[j]))
		}
	}
}

// function are words that say nothing about a subject.
var function = words2set(`a an the and or but of to in on at by for from with without as is are was were be been it its
this that these those there their they them you your we our not no nor if then than so such what which who whom whose when
where why how do does did has have had can could may might must shall should will would one two each every any all both
only also into out over under up down more most less least other another same own say says`)

func words2set(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

func split(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) })
}

func shingles(w []string) map[string]bool {
	m := map[string]bool{}
	for i := 0; i+5 <= len(w); i++ {
		m[strings.Join(w[i:i+5], " ")] = true
	}
	return m
}

func jaccard(a, b map[string]bool) float64 {
	both := 0
	for k := range a {
		if b[k] {
			both++
		}
	}
	if union := len(a) + len(b) - both; union > 0 {
		return float64(both) / float64(union)
	}
	return 0
}

func cosine(a, b map[string]float64) float64 {
	var dot, na, nb float64
	for w, x := range a {
		if function[w] {
			continue
		}
		dot += x * b[w]
		na += x * x
	}
	for w, y := range b {
		if !function[w] {
			nb += y * y
		}
	}
	if na == 0 || nb == 0 {
		return 0
	}
	return dot / math.Sqrt(na*nb)
}
