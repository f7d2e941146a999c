-- Two spellings of one address, such as localhost and 127.0.0.1, have one key: see domain.EndpointKey. Workers from before have none until
-- their endpoint changes. A registration compares these by their spellings.
ALTER TABLE workers ADD COLUMN endpoint_key {{.Text}};
CREATE UNIQUE INDEX workers_by_endpoint_key ON workers (endpoint_key);
