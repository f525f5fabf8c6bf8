package liblint

import "slices"

const (
	findWithin = 3    // ranks
	minRecall  = 0.95 // over all intents
)

// checkFindability: what users ask for in their own words leads to the
// template.
func (c *checker) checkFindability() {
	asked, found := 0, 0
	var lost []Finding
	for _, id := range c.lib.TemplateIDs() {
		t, _ := c.lib.Template(id)
		if t.Status != "published" {
			continue
		}
		for _, intent := range t.Intents {
			asked++
			var ids []string
			for _, h := range c.lib.Search(intent, findWithin) {
				ids = append(ids, h.ID)
			}
			if slices.Contains(ids, id) {
				found++
				continue
			}
			c.item = "template:" + id
			lost = append(lost, c.finding("search/intents", "%q finds %v", intent, ids))
		}
	}
	if float64(found) < minRecall*float64(asked) {
		c.findings = append(c.findings, lost...)
	}
}
