import { LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsCoreOption, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";

register([LineChart, ScatterChart, GridComponent, TooltipComponent, CanvasRenderer]);

interface Props {
  option: object;
  label: string;
  tell: (id: string) => void;
}

export function Chart({ option, label, tell }: Props) {
  const here = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  useEffect(() => {
    const made = init(here.current as HTMLDivElement);
    chart.current = made;
    made.on("click", ({ data }) => {
      const id = (data as { id?: unknown } | null)?.id;
      if (typeof id === "string") tell(id);
    });
    const watcher = new ResizeObserver(() => made.resize());
    watcher.observe(here.current as HTMLDivElement);
    return () => {
      watcher.disconnect();
      made.dispose();
    };
  }, [tell]);
  useEffect(() => chart.current?.setOption(option as EChartsCoreOption, { replaceMerge: ["series"] }), [option, tell]);
  return <div ref={here} className="chart" role="img" aria-label={label} />;
}
