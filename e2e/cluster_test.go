package e2e

import "testing"

func TestClusterUp(t *testing.T) {
	c := startCluster(t)
	t.Log(c.leader().name)
}
