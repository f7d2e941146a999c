package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/redis"
)

func TestCheckAndOpen_URLs_AreAcceptedOrExplainedWithoutPassword(t *testing.T) {
	for _, good := range []string{
		"redis://127.0.0.1:6379", "redis://user:s3cret@host:6379/3", "rediss://:s3cret@host", "unix:///run/redis.sock?db=1",
		"redis://:s3cret@host?dial_timeout=2s&pool_size=5", "redis://u:s3cret%2F%40@n1:7000?addr=n2:7000&addr=n3:7000",
		"rediss://u:s3cret@sentinel:26379/2?master_name=main&addr=sentinel2:26379&password=s3cret",
	} {
		require.NoError(t, redis.Check(good), good)
	}
	for bad, reason := range map[string]string{
		"":                                          "redis://",
		"host:6379":                                 "redis://",
		"http://u:s3cret@host":                      "scheme",
		"redis://u:s3cret@host/x":                   "database number",
		"redis://u:s3cret@host/1/2":                 "path",
		"redis://u:s3cret@host?foo=1":               "foo",
		"redis://u:1/s3cret@host:6379/0":            "percent-encode",
		"redis://u:s3cret/x@host:6379/0":            "percent-encode",
		"redis://u:1?s3cret@host":                   "percent-encode",
		"redis://u:%s3cret@host":                    "percent-encode",
		"redis://u:s3cret":                          "percent-encode",
		"redis://u:s3cret@host:port":                "percent-encode",
		"redis://h?master_name=m&password=1&s3cret": "percent-encode",
		"redis://u:s3cret@h?addr=nowhere":           "addr",
	} {
		for _, err := range []error{redis.Check(bad), func() error {
			_, err := redis.Open(t.Context(), bad, redis.Options{})
			return err
		}()} {
			require.ErrorContains(t, err, reason, bad)
			require.NotContains(t, err.Error(), "s3cret", bad)
		}
	}
}
