package checkpoint

import (
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Tree is the RFC 9162 tree over a log's leaves, of which it keeps the right
// edge only: at most 63 hashes.
type Tree struct{ edge *compact.Range }

func factory() *compact.RangeFactory {
	return &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
}

// NewTree is the tree of an empty log.
func NewTree() *Tree { return &Tree{factory().NewEmptyRange(0)} }

// ResumeTree is the tree of so many leaves, from what Edge returned.
func ResumeTree(size domain.Position, edge []byte) (*Tree, error) {
	var hashes [][]byte
	if len(edge)%len(events.Hash{}) != 0 {
		return nil, fmt.Errorf("resume tree at %d: %d bytes are no hashes", size, len(edge))
	}
	for at := 0; at < len(edge); at += len(events.Hash{}) {
		hashes = append(hashes, edge[at:at+len(events.Hash{}):at+len(events.Hash{})])
	}
	r, err := factory().NewRange(0, uint64(size), hashes)
	if err != nil {
		return nil, fmt.Errorf("resume tree at %d: %w", size, err)
	}
	return &Tree{r}, nil
}

// Add puts the next event's leaf (events.LeafHash) at the end.
func (t *Tree) Add(leaf events.Hash) error { return t.add(leaf, nil) }

func (t *Tree) add(leaf events.Hash, visit compact.VisitFn) error {
	h := events.MerkleLeaf(leaf)
	if err := t.edge.Append(h[:], visit); err != nil {
		return fmt.Errorf("add leaf %d: %w", t.edge.End()+1, err)
	}
	return nil
}

// Size is the number of leaves.
func (t *Tree) Size() domain.Position { return domain.Position(t.edge.End()) }

// Root is the hash of the whole tree.
func (t *Tree) Root() (h events.Hash, err error) {
	root, err := t.edge.GetRootHash(nil)
	if err != nil {
		return h, fmt.Errorf("root of %d leaves: %w", t.edge.End(), err)
	}
	if root == nil {
		root = rfc6962.DefaultHasher.EmptyRoot()
	}
	copy(h[:], root)
	return h, nil
}

// Edge is what ResumeTree needs.
func (t *Tree) Edge() []byte {
	var out []byte
	for _, h := range t.edge.Hashes() {
		out = append(out, h...)
	}
	return out
}

// Prover finds the inclusion proof of one leaf while all of them go by.
type Prover struct {
	tree  *Tree
	nodes proof.Nodes
	found map[compact.NodeID][]byte
	size  domain.Position
}

// NewProver proves that the event at a position is in the tree of a size.
func NewProver(position, size domain.Position) (*Prover, error) {
	if position < 1 || position > size {
		return nil, domain.InvalidField("POSITION", fmt.Sprintf("%d is not covered: the checkpoint is at %d", position, size),
			fmt.Sprintf("give a position from 1 to %d", size))
	}
	nodes, err := proof.Inclusion(uint64(position-1), uint64(size))
	if err != nil {
		return nil, fmt.Errorf("prove position %d of %d: %w", position, size, err)
	}
	p := &Prover{tree: NewTree(), nodes: nodes, found: make(map[compact.NodeID][]byte), size: size}
	for _, id := range nodes.IDs {
		p.found[id] = nil
	}
	return p, nil
}

// Add takes the next leaf.
func (p *Prover) Add(leaf events.Hash) error {
	return p.tree.add(leaf, func(id compact.NodeID, hash []byte) {
		if _, wanted := p.found[id]; wanted {
			p.found[id] = append([]byte(nil), hash...)
		}
	})
}

// Proof is the proof and the root it leads to, once all leaves are in.
func (p *Prover) Proof() (path []events.Hash, root events.Hash, err error) {
	if p.tree.Size() != p.size {
		return nil, root, fmt.Errorf("proof needs %d leaves, not %d", p.size, p.tree.Size())
	}
	hashes := make([][]byte, len(p.nodes.IDs))
	for i, id := range p.nodes.IDs {
		hashes[i] = p.found[id]
	}
	hashes, err = p.nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, root, fmt.Errorf("put proof together: %w", err)
	}
	path = make([]events.Hash, len(hashes))
	for i, h := range hashes {
		copy(path[i][:], h)
	}
	root, err = p.tree.Root()
	return path, root, err
}
