"""spark-submit milo_spark.py FROM..TO KEYSPACE RESULTS

Analyses what Cassandra has of these hours, such as 2026-11-30T10..2026-11-30T12, into a file. It reads the whole table of spans, as far back as
that goes, since Cassandra finds rows by collector and second, and not by time alone.
"""

import os
import sys
from datetime import datetime, timezone

from pyspark.sql import SparkSession

hours, keyspace, output = sys.argv[1:]
milo = os.environ.get('MILO_COLLECTOR', 'milo-collector')
spark = SparkSession.builder.appName(f'milo {hours}').getOrCreate()


def second(hour):
    return int(datetime.fromisoformat(hour).replace(tzinfo=timezone.utc).timestamp())


# A slot is a second of acceptance. Spans arrive after they began, and reduce leaves out what began before or after the hours.
first, last = (second(hour) + margin for hour, margin in zip(hours.split('..'), (-600, 600)))
rows = spark.read.format('org.apache.spark.sql.cassandra').options(keyspace=keyspace, table='spans').load()
rows.where(f'slot >= {first} AND slot < {last}').createOrReplaceTempView('spans')

# base64() makes lines of 76 characters, and columns are apart by \x01 unless one says so. A trace's lines go to one reducer, one after the other.
tabs = r"ROW FORMAT DELIMITED FIELDS TERMINATED BY '\t'"
results = spark.sql(rf"""
  SELECT TRANSFORM (key, value) {tabs} USING '{milo} reduce --merge' AS (line) {tabs} FROM (
    SELECT /*+ REPARTITION(1) */ * FROM (
      SELECT TRANSFORM (id, records) {tabs} USING '{milo} reduce --hours {hours}' AS (key, value) {tabs} FROM (
        SELECT * FROM (
          SELECT TRANSFORM (hex(node), translate(base64(records), '\r\n', '')) {tabs} USING '{milo} map' AS (id, records) {tabs} FROM spans
        ) CLUSTER BY id))
    SORT BY key, value)""")
with open(output, 'w', encoding='utf-8', newline='') as file:
    file.writelines(row.line + '\n' for row in results.toLocalIterator())
