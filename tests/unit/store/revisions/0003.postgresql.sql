CREATE FUNCTION public.audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the audit log is only ever added to'; END $$;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    digest character varying(64) NOT NULL,
    prefix character varying NOT NULL,
    tenant character varying NOT NULL,
    scopes character varying NOT NULL,
    created_at_us bigint NOT NULL,
    expires_at_us bigint,
    revoked_at_us bigint,
    last_used_at_us bigint
);
CREATE TABLE public.audit (
    seq bigint NOT NULL,
    at_us bigint NOT NULL,
    tenant character varying NOT NULL,
    actor character varying NOT NULL,
    action character varying NOT NULL,
    target character varying NOT NULL,
    detail character varying
);
CREATE SEQUENCE public.audit_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_seq_seq OWNED BY public.audit.seq;
CREATE TABLE public.benchmarks (
    id character varying(26) NOT NULL,
    tenant character varying NOT NULL,
    node_id character varying NOT NULL,
    status character varying(16) NOT NULL,
    finished_at_us bigint,
    head bytea NOT NULL,
    results bytea NOT NULL
);
CREATE TABLE public.idempotency_keys (
    tenant character varying NOT NULL,
    key character varying NOT NULL,
    fingerprint character varying NOT NULL,
    workload_id character varying(26) NOT NULL,
    created_at_us bigint NOT NULL
);
CREATE TABLE public.labels (
    workload_id character varying(26) NOT NULL,
    name character varying NOT NULL,
    value character varying NOT NULL
);
CREATE TABLE public.log_chunks (
    workload_id character varying(26) NOT NULL,
    first_seq bigint NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE public.requests (
    workload_id character varying(26) NOT NULL,
    spec bytea NOT NULL,
    archive character varying,
    attached boolean NOT NULL
);
CREATE TABLE public.tenants (
    name character varying NOT NULL,
    policy bytea NOT NULL
);
CREATE TABLE public.totals (
    name character varying NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.workloads (
    id character varying(26) NOT NULL,
    tenant character varying NOT NULL,
    status character varying(16) NOT NULL,
    runtime character varying(16) NOT NULL,
    isolation character varying(16) NOT NULL,
    isolation_used character varying(16),
    start character varying(16),
    finished_at_us bigint,
    total_ms double precision,
    body bytea NOT NULL,
    cpu_ms double precision,
    CONSTRAINT finished_when_terminal CHECK (((finished_at_us IS NULL) = ((status)::text = ANY ((ARRAY['pending'::character varying, 'running'::character varying])::text[]))))
);
ALTER TABLE ONLY public.audit ALTER COLUMN seq SET DEFAULT nextval('public.audit_seq_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0003');
INSERT INTO public.api_keys VALUES ('0000000000000000000000000000000000000000000000000000000000000000', 'cai_0001', 'default', 'read', 1795521600000000, NULL, NULL, NULL);
INSERT INTO public.idempotency_keys VALUES ('default', 'key', 'fingerprint', '01KAA000000000000000000001', 1795521600000000);
INSERT INTO public.labels VALUES ('01KAA000000000000000000000', 'team', 'a');
INSERT INTO public.log_chunks VALUES ('01KAA000000000000000000000', 0, '\x009291930100cf000661047327900091a568656c6c6f');
INSERT INTO public.log_chunks VALUES ('01KAA000000000000000000000', 1, '\x009291930100cf00066104732793e891a677c3b6726c64');
INSERT INTO public.requests VALUES ('01KAA000000000000000000000', '\x7b2272756e74696d65223a226e6f6465222c22636f6465223a22636f6e736f6c652e6c6f67283129222c22696e707574223a6e756c6c2c226c6162656c73223a7b227465616d223a2261227d7d', NULL, true);
INSERT INTO public.requests VALUES ('01KAA000000000000000000001', '\x7b2272756e74696d65223a226e6f6465222c22636f6465223a22636f6e736f6c652e6c6f67283129222c22696e707574223a6e756c6c7d', 'a.tar.gz', false);
INSERT INTO public.totals VALUES ('log_bytes', 45);
INSERT INTO public.workloads VALUES ('01KAA000000000000000000000', 'default', 'completed', 'node', 'auto', 'isolate', 'warm', 1795521602000000, 2000, '\x7b226964223a2230314b4141303030303030303030303030303030303030303030222c22737461747573223a22636f6d706c65746564222c2272756e74696d65223a226e6f6465222c2269736f6c6174696f6e223a226175746f222c2269736f6c6174696f6e5f75736564223a2269736f6c617465222c22726f7574696e67223a6e756c6c2c226e6f64655f6964223a226e6f64652d31222c227374617274223a227761726d222c226f7574707574223a7b2261223a317d2c22657869745f636f6465223a6e756c6c2c226572726f72223a6e756c6c2c227265736f7572636573223a7b2263707573223a312c226d656d5f6d62223a3235362c226469736b5f6d62223a3531322c2274696d656f75745f73223a33302c226d61785f6f75747075745f6279746573223a31303438353736307d2c227573616765223a7b226370755f6d73223a6e756c6c2c227065616b5f6d656d5f6d62223a6e756c6c2c2272785f6279746573223a6e756c6c2c2274785f6279746573223a6e756c6c7d2c2274696d696e6773223a7b227175657565645f6d73223a6e756c6c2c2273746172745f6d73223a6e756c6c2c22657865635f6d73223a6e756c6c2c22746f74616c5f6d73223a323030302e307d2c226475726174696f6e5f6d73223a6e756c6c2c226c6162656c73223a7b227465616d223a2261227d2c22637265617465645f6174223a22323032362d31312d32345431323a30303a30305a222c22737461727465645f6174223a22323032362d31312d32345431323a30303a30315a222c2266696e69736865645f6174223a22323032362d31312d32345431323a30303a30325a227d', NULL);
INSERT INTO public.workloads VALUES ('01KAA000000000000000000001', 'default', 'pending', 'node', 'auto', 'isolate', NULL, NULL, NULL, '\x7b226964223a2230314b4141303030303030303030303030303030303030303031222c22737461747573223a2270656e64696e67222c2272756e74696d65223a226e6f6465222c2269736f6c6174696f6e223a226175746f222c2269736f6c6174696f6e5f75736564223a2269736f6c617465222c22726f7574696e67223a6e756c6c2c226e6f64655f6964223a6e756c6c2c227374617274223a6e756c6c2c226f7574707574223a6e756c6c2c22657869745f636f6465223a6e756c6c2c226572726f72223a6e756c6c2c227265736f7572636573223a7b2263707573223a312c226d656d5f6d62223a3235362c226469736b5f6d62223a3531322c2274696d656f75745f73223a33302c226d61785f6f75747075745f6279746573223a31303438353736307d2c227573616765223a7b226370755f6d73223a6e756c6c2c227065616b5f6d656d5f6d62223a6e756c6c2c2272785f6279746573223a6e756c6c2c2274785f6279746573223a6e756c6c7d2c2274696d696e6773223a7b227175657565645f6d73223a6e756c6c2c2273746172745f6d73223a6e756c6c2c22657865635f6d73223a6e756c6c2c22746f74616c5f6d73223a6e756c6c7d2c226475726174696f6e5f6d73223a6e756c6c2c226c6162656c73223a7b7d2c22637265617465645f6174223a22323032362d31312d32345431323a30303a30305a222c22737461727465645f6174223a6e756c6c2c2266696e69736865645f6174223a6e756c6c7d', NULL);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_prefix_key UNIQUE (prefix);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.benchmarks
    ADD CONSTRAINT benchmarks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant, key);
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_pkey PRIMARY KEY (workload_id, name);
ALTER TABLE ONLY public.log_chunks
    ADD CONSTRAINT log_chunks_pkey PRIMARY KEY (workload_id, first_seq);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (workload_id);
ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.totals
    ADD CONSTRAINT totals_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.workloads
    ADD CONSTRAINT workloads_pkey PRIMARY KEY (id);
CREATE INDEX audit_by_age ON public.audit USING btree (at_us);
CREATE INDEX audit_by_tenant ON public.audit USING btree (tenant, seq);
CREATE INDEX benchmarks_by_end ON public.benchmarks USING btree (finished_at_us);
CREATE INDEX benchmarks_newest ON public.benchmarks USING btree (tenant, id);
CREATE INDEX idempotency_keys_by_age ON public.idempotency_keys USING btree (created_at_us);
CREATE INDEX idempotency_keys_by_workload ON public.idempotency_keys USING btree (workload_id);
CREATE INDEX labels_by_name ON public.labels USING btree (name, value, workload_id);
CREATE INDEX workloads_by_end ON public.workloads USING btree (finished_at_us, tenant, status, isolation_used, start, total_ms);
CREATE INDEX workloads_by_status ON public.workloads USING btree (tenant, status, id, isolation_used, runtime);
CREATE INDEX workloads_newest ON public.workloads USING btree (tenant, id, isolation_used, runtime);
CREATE TRIGGER audit_append_only BEFORE UPDATE ON public.audit FOR EACH ROW EXECUTE FUNCTION public.audit_is_append_only();
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_workload_id_fkey FOREIGN KEY (workload_id) REFERENCES public.workloads(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.labels
    ADD CONSTRAINT labels_workload_id_fkey FOREIGN KEY (workload_id) REFERENCES public.workloads(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.log_chunks
    ADD CONSTRAINT log_chunks_workload_id_fkey FOREIGN KEY (workload_id) REFERENCES public.workloads(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_workload_id_fkey FOREIGN KEY (workload_id) REFERENCES public.workloads(id) ON DELETE CASCADE;
