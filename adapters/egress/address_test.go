package egress

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIsPublic_Address_JudgedByItsNetwork(t *testing.T) {
	for text, want := range map[string]bool{
		"1.1.1.1": true, "9.255.255.255": true, "11.0.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"169.253.255.255": true, "172.15.255.255": true, "172.32.0.0": true, "192.0.1.0": true, "192.167.255.255": true,
		"198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true, "::ffff:1.1.1.1": true,
		"2606:4700::1111": true, "2001:4860:4860::8888": true, "2003::1": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.255.255.255": false, "100.64.0.0": false,
		"100.127.255.255": false, "127.0.0.1": false, "127.9.9.9": false, "169.254.169.254": false, "172.16.0.0": false,
		"172.31.255.255": false, "192.0.0.170": false, "192.168.1.1": false, "198.18.0.0": false, "198.19.255.255": false,
		"224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fc00::1": false, "fdff::1": false, "fe80::1": false, "fe80::1%eth0": false,
		"fd00::1%eth0": false, "febf::1": false, "fec0::1": false, "ff02::1": false, "64:ff9b::7f00:1": false,
		"64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false, "2001:0:ffff::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:100.64.0.1": false,
		"192.0.2.1": false, "198.51.100.7": false, "203.0.113.9": false, "192.88.99.1": false, "168.63.129.16": false,
		"100.100.100.200": false, "::127.0.0.1": false, "::8.8.8.8": false, "100::1": false, "2001:db8::1": false,
		"5f00::1": false, "3fff::1": false, "fec0::1%eth0": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b::808:808": true,
		"fd00:ec2::254": false, "2001:20::1": false, "4000::1": false,
	} {
		assert.Equal(t, want, IsPublic(netip.MustParseAddr(text)), text)
	}
	assert.False(t, IsPublic(netip.Addr{}))
}

func TestControl_Dialer_ConnectsToPublicOnly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	d := net.Dialer{Control: Control}
	_, err = d.Dial("tcp", listener.Addr().String())
	require.ErrorIs(t, err, ErrNotPublic)
	require.NoError(t, Control("tcp4", "1.1.1.1:443", nil))
	require.ErrorIs(t, Control("tcp6", "[::ffff:10.0.0.1]:443", nil), ErrNotPublic)
	require.ErrorIs(t, Control("tcp", "somewhere", nil), ErrNotPublic)
}
